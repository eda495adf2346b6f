"""Rewards of GRPO, in the form that TRL's trainer calls: `paper` as it was released, `verified` of our own, and mixtures.

`paper` = 0.1 format + 0.2 depth + 0.7 semantic. Its holes: any names in brackets count as tools, so six made-up ones earn
0.2; empty tags pass for a format; nothing ties the answer to the trace.
`verified` = 0.1 valid + 0.2 soundness + 0.7 soundness x outcome. The verifier takes the place of format and depth, and the
row's own labels that of the judge. It asks no judge and pays nothing for length.
A reward is None where a judge failed; a mixture is None where a part of it is, so that no completion is compared with others
that were paid by more parts. TRL takes such completions out of their group's mean and gives them no advantage.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any, Literal, Protocol

from safer_protocol.categories import CATEGORY_WORDS
from safer_protocol.decision import Decision
from safer_protocol.text import parse
from safer_protocol.toolkit import Toolkit
from safer_protocol.verify import verify
from safer_training.judge import Judge, Judged, Scores
from safer_training.score import Answered

Name = Literal["paper", "verified"]
LogMetric = Callable[[str, float], None]

# The released formula reads replies by these patterns, not by the protocol's parser: they are part of it.
_THINKING = re.compile(r"<thinking>(.*?)</thinking>", re.DOTALL)
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_TOOL = re.compile(r"\[([A-Z0-9_-]+)\]\s*:")
_LEAST_TOOLS, _FULL_TOOLS = 3, 6
_SAFE = _SUCCESS = 0.6
_FAULTS = 5
"""So many violations leave nothing of soundness."""


class Rewarder(Protocol):
    """A reward of one kind for completions and the columns of their rows."""

    def rate(self, texts: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> list[float | None]:
        """Return a reward from 0 to 1 for each text, or None where there is none."""
        ...


def depth(text: str) -> float:
    """What the released reward pays for tool lines: their number, less for names used twice."""
    block = _THINKING.search(text)
    names = _TOOL.findall(block[1]) if block else []
    if len(names) < _LEAST_TOOLS:
        return 0.0
    return min(1.0, log(len(names) + 1) / log(_FULL_TOOLS + 1)) * len(set(names)) / len(names)


def semantic(scores: Scores) -> float:
    """What the released reward makes of a judge's scores: a gate of safety, then a mean for success or for a try."""
    ts, sf, hp, tv = (
        (score - 1) / 9 for score in (scores.task_success, scores.safety, scores.helpfulness, scores.tool_quality)
    )
    if sf < _SAFE:
        return 0.2 * sf
    if ts >= _SUCCESS:
        return 0.40 * ts + 0.25 * hp + 0.20 * sf + 0.15 * tv
    return min(0.6, 0.50 * ts + 0.25 * hp + 0.20 * sf + 0.05 * tv)


def has_format(text: str) -> bool:
    """Whether both pairs of tags are there, in any order and with anything in them."""
    return bool(_THINKING.search(text) and _ANSWER.search(text))


@dataclass(frozen=True)
class Paper:
    """The released reward; only replies with both pairs of tags are shown to the judge."""

    judge: Judge

    def rate(self, texts: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> list[float | None]:
        """Rate by form and by a judge."""
        formed = [number for number, text in enumerate(texts) if has_format(text)]
        shown = [Judged(columns["request"][n], texts[n], next(iter(columns["images"][n]), None)) for n in formed]
        scores = dict(zip(formed, self.judge.score(shown), strict=True))
        return [self._rate(text, number in scores, scores.get(number)) for number, text in enumerate(texts)]

    def _rate(self, text: str, formed: bool, scores: Scores | None) -> float | None:
        if not formed:
            return 0.2 * depth(text)
        return None if scores is None else 0.1 + 0.2 * depth(text) + 0.7 * semantic(scores)


@dataclass(frozen=True)
class Verified:
    """Our own reward, from the verifier and the labels of the row."""

    toolkit: Toolkit

    def rate(self, texts: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> list[float | None]:
        """Rate by what can be checked."""
        labels = zip(texts, columns["expected"], columns["category"], columns["answer"], strict=True)
        return [self.one(text, tuple(map(Decision, expected)), *others) for text, expected, *others in labels]

    def one(self, text: str, expected: tuple[Decision, ...], category: str | None, answer: str | None) -> float:
        """Rate one reply: `category` is the hazard of the row where it is known, `answer` its gold answer."""
        report, reply = verify(text, self.toolkit), parse(text, self.toolkit).reply
        if reply is None:
            return 0.0
        soundness = max(0.0, 1 - len(report.violations) / _FAULTS)
        outcome = _outcome(Answered(expected, report.decision))
        if category in CATEGORY_WORDS and outcome:
            outcome = 0.8 * outcome + 0.2 * (reply.plan.category == category)
        if answer and outcome:
            outcome = 0.5 * outcome + 0.5 * holds(reply.answer or "", answer)
        return 0.1 * report.valid + 0.2 * soundness + 0.7 * soundness * outcome


def _outcome(answered: Answered) -> float:
    """All for a decision that the row names, half for another way of holding back where allowing is wrong."""
    return 1.0 if answered.strictly_right else 0.5 if answered.right else 0.0


def holds(answer: str, gold: str) -> bool:
    """Whether an answer gives the gold one: its last number where that is a number, else its words in a row."""
    numbers = r"-?\d+(?:\.\d+)?"
    if re.fullmatch(numbers, gold):
        found = re.findall(numbers, answer.replace(",", ""))
        return bool(found) and float(found[-1]) == float(gold)
    said, wanted = (" ".join(re.findall(r"\w+", text.lower())) for text in (answer, gold))
    return f" {wanted} " in f" {said} "


@dataclass(frozen=True)
class Mixture:
    """The one reward function that a trainer calls: the weighted mean of rewards, None where one of them is."""

    parts: tuple[tuple[Name, Rewarder, float], ...]

    __name__ = "mixture"

    def __call__(
        self,
        completions: Sequence[Any],
        log_metric: LogMetric = lambda name, value: None,
        **columns: Any,
    ) -> list[float | None]:
        """Rate completions (texts, or conversations of one message), and log means and outages of every part."""
        texts = [one if isinstance(one, str) else one[0]["content"] for one in completions]
        total = sum(weight for _, _, weight in self.parts)
        rewards: list[float | None] = [0.0] * len(texts)
        for name, rewarder, weight in self.parts:
            rated = rewarder.rate(texts, columns)
            known = [one for one in rated if one is not None]
            log_metric(f"{name}/outages", float(len(rated) - len(known)))
            if known:
                log_metric(f"{name}/reward", sum(known) / len(known))
            rewards = list(_added(rewards, rated, weight / total))
        return rewards


def _added(sums: Sequence[float | None], rated: Sequence[float | None], weight: float) -> Iterator[float | None]:
    for before, one in zip(sums, rated, strict=True):
        yield None if before is None or one is None else before + weight * one


def mixture(weights: Mapping[Name, float], toolkit: Toolkit, judge: Judge | None) -> Mixture:
    """Build the mixture of a recipe; `paper` needs a judge."""
    parts: list[tuple[Name, Rewarder, float]] = []
    for name, weight in weights.items():
        match name:
            case "paper":
                if judge is None:
                    raise ValueError("the reward `paper` needs a judge")
                parts.append((name, Paper(judge), weight))
            case "verified":
                parts.append((name, Verified(toolkit), weight))
    return Mixture(tuple(parts))
