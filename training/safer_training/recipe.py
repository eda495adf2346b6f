"""Recipes: all that decides how a checkpoint is trained, in one YAML file with a section for each stage.

A key that a section does not have is an error that names it: a misspelt rate must not become a default.
"""

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from safer_training.checkpoint import Size
from safer_training.errors import RecipeError

RECIPES = Path(__file__).parent / "recipes"

Share = float


class Section(BaseModel):
    """Part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Recipe(Section):
    """Supervised training on rows that are shown anew each time (`shown`); shares are fractions of batches or rows."""

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
    words: float = Field(default=0.0, ge=0)
    """Weight of the exercise in spelling: after `SPELLING_LAYERS` layers the last cell of a word in a picture names its tokens."""
    spelling: Share = Field(default=0.0, ge=0, le=1)
    """Of the batches of pictures: that exercise alone, which takes the layers up to there and no more."""
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

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.spelling and not self.words:
            raise ValueError("words: the exercise in spelling needs a weight")
        return self


class Lora(Section):
    """Train small matrices beside the frozen projections of the language model; they are merged when training ends."""

    rank: int = Field(ge=1)
    alpha: float = Field(gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class Stage(Section):
    """What all stages on built rows have in common."""

    name: str
    rows: int | None = Field(default=None, ge=1)
    """The first so many rows; all of them where it is left out."""
    epochs: float = Field(gt=0)
    batch: int = Field(ge=1)
    """Rows an update, over all devices; of GRPO, completions."""
    at_once: int = Field(ge=1)
    """Rows a device takes in one pass; the rest of a batch is accumulated."""
    rate: float = Field(gt=0)
    schedule: Literal["constant", "cosine"]
    warmup: int = Field(default=0, ge=0)
    """Updates."""
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0)
    tower: Literal["trained", "frozen"]
    """The vision tower."""
    lora: Lora | None = None
    checkpointing: bool
    """Compute activations twice to save memory."""
    min_pixels: int | None = Field(default=None, ge=784)
    max_pixels: int | None = Field(default=None, ge=784)
    """Areas that pictures are scaled to; the checkpoint's own where they are left out."""
    seed: int = 1
    save_every: int = Field(ge=1)

    def updates(self, rows: int) -> int:
        """Return how many updates so many rows make."""
        return max(1, int(self.epochs * rows / self.batch))

    def accumulation(self, processes: int) -> int:
        """Return how many passes of a device make an update; raise `RecipeError` where a batch cannot be shared out."""
        passes, rest = divmod(self.batch, self.at_once * processes)
        if rest or not passes:
            raise RecipeError(
                f"a batch of {self.batch} is not a multiple of {self.at_once} rows on {processes} devices"
            )
        return passes


class SftStage(Stage):
    """Supervised fine-tuning on built rows."""

    fixed_weight: float = Field(default=1.0, gt=0, le=1)
    """Weight of every token but those of category, risk, level and verdict."""


class DpoStage(Stage):
    """Preference of a good reply over the same one with a fault."""

    beta: float = Field(gt=0)


class JudgeServer(Section):
    """An OpenAI-compatible endpoint that scores replies."""

    url: str
    model: str
    timeout: float = Field(default=60.0, gt=0)
    retries: int = Field(default=1, ge=0)


class GrpoStage(Stage):
    """Reinforcement by rewards of replies that the policy writes itself."""

    generations: int = Field(ge=2)
    """Completions a prompt, which are compared with each other."""
    prompts: int = Field(ge=1)
    """Prompts a rollout."""
    completion: int = Field(ge=64)
    """Most tokens of a reply."""
    temperature: float = Field(default=1.0, gt=0)
    kl: float = Field(ge=0)
    clip_low: float = Field(gt=0)
    clip_high: float = Field(gt=0)
    dual_clip: float | None = Field(default=None, gt=1)
    """Most that a ratio counts where the advantage is negative."""
    constrained: bool
    """Whether replies are written under the mask; then the policy that is trained is the one under the mask."""
    rewards: dict[Literal["paper", "verified"], float] = Field(min_length=1)
    """Weights."""
    judge: JudgeServer | None = None
    vllm: str | None = None
    """URL of a vLLM server that writes the replies; transformers writes them where it is left out."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if min(self.rewards.values()) <= 0:
            raise ValueError("rewards: a weight is above 0")
        if "paper" in self.rewards and self.judge is None:
            raise ValueError("judge: the reward `paper` needs one")
        if self.batch % self.generations or (self.prompts * self.generations) % self.batch:
            raise ValueError("batch: a multiple of generations, of which prompts x generations is a multiple")
        if self.save_every % self.rollout_updates:
            raise ValueError(f"save_every: a multiple of the {self.rollout_updates} updates that a rollout serves")
        return self

    @property
    def rollout_updates(self) -> int:
        """Updates that one rollout serves."""
        return self.prompts * self.generations // self.batch

    def updates(self, rows: int) -> int:
        """Return how many updates so many prompts make: whole rollouts only."""
        return max(1, int(self.epochs * (rows // self.prompts))) * self.rollout_updates


class Curriculum(Section):
    """A recipe file: the model it starts from and the stages, each of which may be left out."""

    name: str
    model: str | None = None
    """Folder or hub name of a Qwen2.5-VL to start from, or a size to build."""
    shown: Recipe | None = None
    sft: SftStage | None = None
    dpo: DpoStage | None = None
    grpo: GrpoStage | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_sections(cls, data: Any) -> Any:
        """Let every section know the name of its recipe."""
        if not isinstance(data, dict):
            return data
        name = data.get("name")
        return {key: {"name": name, **value} if isinstance(value, dict) else value for key, value in data.items()}


def read_curriculum(path: Path) -> Curriculum:
    """Read a recipe file, given as a file or as the name of one that ships; raise `RecipeError` that names what is wrong."""
    found = path if path.is_file() else RECIPES / f"{path.name.removesuffix('.yaml')}.yaml"
    if not found.is_file():
        names = ", ".join(sorted(file.stem for file in RECIPES.glob("*.yaml")))
        raise RecipeError(f"no recipe {path}; a file, or one of {names}")
    try:
        return Curriculum.model_validate(yaml.safe_load(found.read_text()))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc']))}: {_plainly(one['type'], one['msg'])}" for one in error.errors()]
        raise RecipeError(f"{found}: {'; '.join(problems)}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{found}: {error}") from error


def read_recipe(path: Path) -> Recipe:
    """Read the `shown` section of a recipe file; raise `RecipeError`."""
    shown = read_curriculum(path).shown
    if shown is None:
        raise RecipeError(f"{path} has no section `shown`")
    return shown


def _plainly(kind: str, message: str) -> str:
    return "no such key" if kind == "extra_forbidden" else message
