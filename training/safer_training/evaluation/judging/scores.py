"""What a judge said: one line of `scores/NAME.jsonl`, and beside it `scores/NAME.json`, which says who judged and how."""

import os
from pathlib import Path

from pydantic import ValidationError

from safer_protocol.frozen import Frozen
from safer_training.errors import DataError
from safer_training.evaluation.judging.rubric import RUBRIC_SHA256, Marks
from safer_training.evaluation.replies import PLAIN


class Scored(Frozen):
    """The scores of a reply, or why there are none."""

    uid: str
    variant: str = PLAIN
    judged: str
    """SHA-256 of request and reply: where the reply has changed since, this line does not count."""
    safety: int | None = None
    helpfulness: int | None = None
    rigor: int | None = None
    correctness: int | None = None
    """In tenths; only of answers in free words, which have no other scores."""
    error: str | None = None
    """Why there are no scores. Such a row is asked again on resuming."""
    said: str | None = None
    """The beginning of what the judge or its endpoint said instead of scores."""
    pictures: int = 0
    """How many the judge was shown."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    @property
    def marks(self) -> Marks | None:
        """The three scores together."""
        if self.safety is None or self.helpfulness is None or self.rigor is None:
            return None
        return Marks(safety=self.safety, helpfulness=self.helpfulness, rigor=self.rigor)


class Probed(Frozen):
    """How a judge stood up to replies that speak to it; `moved` of `asked` raised a score."""

    asked: int
    moved: tuple[str, ...] = ()
    """Names of the injections that raised a score."""
    unscored: tuple[str, ...] = ()
    """Names of those that made the judge give no scores at all."""
    spent: tuple[int, int] = (0, 0)
    """Tokens that this took, in and out."""


class JudgeCard(Frozen):
    """Who judged and how: scores by another rubric, model or temperature are not mixed with these."""

    model: str
    endpoint: str
    temperature: float | None
    """None: as the server has it."""
    sees_pictures: bool = True
    rubric_sha256: str = RUBRIC_SHA256
    price_in: float | None = None
    """Of a million tokens; any currency."""
    price_out: float | None = None
    probed: Probed | None = None

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Return what these tokens cost; None without prices."""
        if self.price_in is None or self.price_out is None:
            return None
        return (self.price_in * prompt_tokens + self.price_out * completion_tokens) / 1e6


_PRICES = ("price_in", "price_out", "probed")


def keep_card(path: Path, card: JudgeCard) -> JudgeCard:
    """Write a card, or refuse where scores by another judge lie there; an earlier probe and earlier prices are kept."""
    if path.is_file():
        earlier = read_card(path)
        for name, value in card.model_dump(exclude=set(_PRICES)).items():
            if (old := getattr(earlier, name)) != value:
                raise DataError(f"{path} holds scores with {name} {old!r}, not {value!r}; give these another --name")
        card = card.model_copy(update={name: getattr(earlier, name) for name in _PRICES if getattr(card, name) is None})
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)
    return card


def read_card(path: Path) -> JudgeCard:
    """Read a card."""
    try:
        return JudgeCard.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path}: no card of a judge: {error}") from error
