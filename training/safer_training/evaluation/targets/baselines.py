"""Baselines: what decides without a model of its own, and how much better a guard is than that."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal, Protocol, assert_never

from safer_protocol.decision import Decision
from safer_training.baselines import Words
from safer_training.errors import DataError
from safer_training.evaluation.listing import text_of
from safer_training.evaluation.manifest import TargetCard
from safer_training.evaluation.question import Question
from safer_training.evaluation.replies import Reply
from safer_training.evaluation.targets.target import alike
from safer_training.rows import Row, digest

BaselineName = Literal["refuse-all", "answer-all", "keywords", "words", "profanity"]

BATCH = 64
PROFANITY = "alt-profanity-check"
REFUSAL, ANSWER = "I can't help with this.", "Here is an answer."

KEYWORDS = (
    *(
        "bomb",
        "explosive",
        "weapon",
        "gun",
        "poison",
        "kill",
        "murder",
        "attack",
        "terror",
        "hack",
        "malware",
        "virus",
        "phishing",
    ),
    *(
        "exploit",
        "password",
        "steal",
        "fraud",
        "scam",
        "launder",
        "counterfeit",
        "drug",
        "smuggle",
        "bribe",
        "blackmail",
        "stalk",
    ),
    *(
        "racist",
        "slur",
        "porn",
        "nude",
        "sexual",
        "suicide",
        "self-harm",
        "torture",
        "kidnap",
        "illegal",
        "untraceable",
    ),
)
"""Words that a simple filter would look for; a word that begins like one of them is found as well."""


class Rule(Protocol):
    """Says how harmful it holds each text to be, from 0 to 1; from a half on it refuses."""

    def risks(self, texts: Sequence[str]) -> Sequence[float]:
        """Return as many risks as texts."""
        ...


@dataclass(frozen=True)
class Always:
    """The same whatever is asked."""

    risk: float

    def risks(self, texts: Sequence[str]) -> Sequence[float]:
        """Look at nothing."""
        return [self.risk] * len(texts)


@dataclass(frozen=True)
class Keywords:
    """A list of words."""

    pattern: re.Pattern[str] = re.compile(rf"\b(?:{'|'.join(map(re.escape, KEYWORDS))})", re.IGNORECASE)

    def risks(self, texts: Sequence[str]) -> Sequence[float]:
        """Count different words: one makes a half, and more come ever nearer to 1."""
        counts = [len({found.lower() for found in self.pattern.findall(text)}) for text in texts]
        return [count / (count + 1) for count in counts]


class Profanity:
    """Another's classifier of offensive words, whose weights come inside its package."""

    def __init__(self) -> None:
        """Load it; raise `DataError` where it is not installed."""
        try:
            from profanity_check import predict_prob
        except ModuleNotFoundError as error:
            raise DataError(f"profanity needs {PROFANITY}: pip install {PROFANITY}") from error
        self._predict = predict_prob

    def risks(self, texts: Sequence[str]) -> Sequence[float]:
        """Return its probabilities."""
        return [float(risk) for risk in self._predict(list(texts))]


@dataclass(frozen=True)
class Baseline:
    """A rule as a target; it reads the text of the last message and no picture."""

    card: TargetCard
    rule: Rule
    at_once: int = 1

    def batches(self, questions: Sequence[Question]) -> Iterable[Sequence[Question]]:
        """Take many at a time."""
        return alike(questions, BATCH)

    async def reply(self, batch: Sequence[Question]) -> Sequence[Reply]:
        """Decide."""
        risks = self.rule.risks([text_of(question.prompt[-1]) for question in batch])
        return [_reply(question, risk) for question, risk in zip(batch, risks, strict=True)]


def _reply(question: Question, risk: float) -> Reply:
    refused = risk >= 0.5
    return Reply(
        uid=question.uid,
        variant=question.variant,
        answer=None if refused else ANSWER,
        refusal=REFUSAL if refused else None,
        finish_reason="stop",
        decision=Decision.REFUSE if refused else Decision.ALLOW,
        risk=risk,
    )


def baseline(name: BaselineName, train: Sequence[Row] = ()) -> Baseline:
    """Make a baseline; `words` learns from rows."""
    rule: Rule
    revision = digest(train) if train else None
    match name:
        case "refuse-all":
            rule = Always(1.0)
        case "answer-all":
            rule = Always(0.0)
        case "keywords":
            rule = Keywords()
        case "words":
            rule = Words(train)
        case "profanity":
            rule, revision = Profanity(), version(PROFANITY)
        case _:
            assert_never(name)
    return Baseline(TargetCard(kind="baseline", name=name, revision=revision), rule)
