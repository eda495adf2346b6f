"""A case: what the guard is asked to judge and answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal

from safer_protocol.decision import Decision
from safer_protocol.policy import Policy, default_policy
from safer_protocol.prompt import ImagePart, Turn
from safer_protocol.toolkit import default_toolkit
from safer_server.engines.base import Constraint, Sampling

Modality = Literal["text", "image", "text_image"]
Subject = Literal["request", "reply"]
PartType = Literal["text", "image", "other"]


_TOO_OLD = "older than what the model can read at once"


@dataclass(frozen=True)
class Part:
    """A part of the conversation: where it stands in the request, and what it is."""

    part: str
    type: PartType


@dataclass(frozen=True)
class UnjudgedPart:
    """A part, or something of it, that nobody looks at."""

    part: str
    type: PartType
    reason: str


@dataclass(frozen=True)
class Coverage:
    """Every part of the conversation, judged (in the order of the turns' parts) or not."""

    judged: tuple[Part, ...]
    unjudged: tuple[UnjudgedPart, ...] = ()


@dataclass(frozen=True)
class Case:
    """One conversation with its coverage, and the caller's limits."""

    turns: tuple[Turn, ...]
    coverage: Coverage
    policy: Policy = field(default_factory=lambda: default_policy(default_toolkit()))
    sampling: Sampling = field(default_factory=Sampling)
    constraint: Constraint = field(default_factory=Constraint)
    completion_tokens: int | None = None
    """Most tokens of plan, trace and answer together."""
    stop: tuple[str, ...] = ()
    """Texts before which a delivered answer ends."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each picture's file, by its path in the request."""
    answers: tuple[Decision, ...] = tuple(Decision)
    """The decisions after which the engine goes on to write an answer; after another the case is closed: it was a check."""

    def without_oldest(self) -> "Case | None":
        """Leave the older half of what was said before the last turn unjudged, for whoever answers, too; None if that is nothing.

        What the application itself said at the start stays.
        """
        spoken = [number for number, turn in enumerate(self.turns[:-1]) if turn.role != "system"]
        left_out = set(spoken[: (len(spoken) + 1) // 2])
        if not left_out:
            return None
        parts = iter(self.coverage.judged)
        turns, judged, unjudged = list[Turn](), list[Part](), list(self.coverage.unjudged)
        for number, turn in enumerate(self.turns):
            of_turn = list(islice(parts, len(turn.parts)))
            if number in left_out:
                unjudged += [UnjudgedPart(part.part, part.type, _TOO_OLD) for part in of_turn]
            else:
                turns.append(turn)
                judged += of_turn
        return replace(self, turns=tuple(turns), coverage=Coverage(tuple(judged), tuple(unjudged)))

    @property
    def subject(self) -> Subject:
        """What is judged: the request, or the reply where the assistant has the last word."""
        return "reply" if self.turns[-1].role == "assistant" else "request"

    @property
    def modality(self) -> Modality:
        """What the conversation consists of."""
        pictures = [isinstance(part, ImagePart) for turn in self.turns for part in turn.parts]
        if not any(pictures):
            return "text"
        return "image" if all(pictures) else "text_image"
