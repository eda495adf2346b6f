"""What users are told when a command cannot go on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from safer_training.errors import TrainingError


@contextmanager
def told() -> Iterator[None]:
    """Turn a mistake that the user can put right, or a full disk, into a usage error."""
    try:
        yield
    except TrainingError as error:
        raise typer.BadParameter(str(error)) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        where = error.filename or "the output folder"
        raise typer.BadParameter(
            f"{where}: {error.strerror}; what is done is kept, run the same command again"
        ) from error
