"""A case: what the guard is asked to judge and answer."""

from dataclasses import dataclass, field
from typing import Literal

from safer_protocol.policy import Policy, default_policy
from safer_protocol.prompt import ImagePart, Turn
from safer_protocol.toolkit import default_toolkit
from safer_server.engines.base import Constraint, Sampling

Modality = Literal["text", "image", "text_image"]


@dataclass(frozen=True)
class Part:
    """A part of the conversation: where it stands in the request, and what it is."""

    part: str
    type: Literal["text", "image"]


@dataclass(frozen=True)
class UnjudgedPart:
    """A part, or something of it, that nobody looks at."""

    part: str
    type: Literal["text", "image"]
    reason: str


@dataclass(frozen=True)
class Coverage:
    """Every part of the conversation, judged or not."""

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

    @property
    def modality(self) -> Modality:
        """What the conversation consists of."""
        pictures = [isinstance(part, ImagePart) for turn in self.turns for part in turn.parts]
        if not any(pictures):
            return "text"
        return "image" if all(pictures) else "text_image"
