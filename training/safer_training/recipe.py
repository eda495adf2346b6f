"""Recipes: all that decides how a checkpoint is trained, in one YAML file."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from safer_training.checkpoint import Size
from safer_training.errors import RecipeError

RECIPES = Path(__file__).parent / "recipes"

Share = float


class Recipe(BaseModel):
    """A stage of supervised training; shares are fractions of batches or rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    stage: Literal["sft", "joint"]
    size: Size
    """Size of the model where training starts from none."""
    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    rate: float = Field(gt=0)
    warmup: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    dropout: float = Field(ge=0, lt=1)
    """Of the embeddings of text."""
    whole: Share = Field(ge=0, le=1)
    """Batches taught to the end of the reply; the others end after the head of the plan, where the decision is learnt."""
    fixed_weight: float = Field(gt=0, le=1)
    """Weight of every token but those of category, risk and verdict."""
    pictures: Share = Field(ge=0, le=1)
    """Batches shown as pictures."""
    readings: Share = Field(ge=0, le=1)
    """Of the batches of pictures: exercises in reading a few words."""
    dialogues: Share = Field(ge=0, le=1)
    """Of the other batches: rows shown at the end of a conversation."""
    noise: Share = Field(ge=0, lt=1)
    """Prompt tokens dropped or replaced, and characters of pseudo pictures misread."""
    balance: float = Field(ge=0, le=1)
    """A set of n rows is drawn with weight n to the power of 1 - balance."""
    refusing: Share = Field(default=0.5, gt=0, lt=1)
    """Draws where allowing would be wrong. More than half makes up for greedy decoding: `none` is one word, while hazards share
    their probability among sixteen."""
    seed: int = 0
    save_every: int = Field(default=500, ge=1)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe, given as a file or as the name of one that ships; raise `RecipeError`."""
    found = path if path.is_file() else RECIPES / f"{path.name.removesuffix('.yaml')}.yaml"
    if not found.is_file():
        names = ", ".join(sorted(file.stem for file in RECIPES.glob("*.yaml")))
        raise RecipeError(f"no recipe {path}; a file, or one of {names}")
    try:
        return Recipe.model_validate(yaml.safe_load(found.read_text()))
    except (yaml.YAMLError, ValidationError) as error:
        raise RecipeError(f"{found}: {error}") from error
