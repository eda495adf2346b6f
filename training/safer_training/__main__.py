"""`python -m safer_training`: the commands of `safer train`, for launchers that start a module in every process."""

from safer_training.cli import train

if __name__ == "__main__":
    train()
