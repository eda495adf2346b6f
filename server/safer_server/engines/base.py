"""The contract between the guard and whatever generates tokens."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from safer_protocol.plan import Depth, Plan
from safer_protocol.prompt import Turn
from safer_protocol.toolkit import Toolkit, default_toolkit

if TYPE_CHECKING:
    from safer_protocol.constrain.cache import BlockCache

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; `temperature` 0 means greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    answer_tokens: int = 512
    """Longest answer, in tokens; a longer one is closed there and the last piece says `length`."""
    reply_tokens: int | None = None
    """Most tokens of plan, trace and answer together; the engine closes the reply within them, where that can be done."""


@dataclass(frozen=True)
class Constraint:
    """What the caller fixed in advance; None leaves the choice to the planner."""

    depth: Depth | None = None
    plan: Plan | None = None


@dataclass(frozen=True)
class EngineRequest:
    """One conversation to plan, trace and answer."""

    turns: tuple[Turn, ...]
    sampling: Sampling = Sampling()
    constraint: Constraint = Constraint()
    toolkit: Toolkit = field(default_factory=default_toolkit)
    """What the reply may be made of; an engine serves the toolkits that it was opened with."""


@dataclass(frozen=True)
class Piece:
    """A stretch of generated text.

    `tokens` counts the tokens it stands for. The first piece carries `prompt_tokens` (and usually no text); the last carries
    `finish`: `stop` when the reply closed by itself, `length` when an answer limit cut it.
    """

    text: str
    tokens: int = 0
    prompt_tokens: int | None = None
    finish: FinishReason | None = None


class EngineError(Exception):
    """The engine could not finish the reply; the guard fails closed."""


class EngineUnavailableError(EngineError):
    """No engine could be reached at all."""


class ContextLengthError(EngineError):
    """The conversation is longer than the model's context; the caller's mistake, raised before the first piece."""


class Engine(Protocol):
    """Streams replies; cancelled by closing the iterator."""

    name: str
    """Kind of the engine, a metrics label."""

    model: str
    """Name of the served model."""

    def stream(self, request: EngineRequest) -> AsyncGenerator[Piece, None]:
        """Yield the reply as it is written; raise `EngineError` on a fault; closing the iterator cancels generation."""
        ...

    async def healthy(self) -> bool:
        """Whether a request sent now would be served."""
        ...

    async def close(self) -> None:
        """Release threads, memory and connections."""
        ...


@runtime_checkable
class Constrained(Protocol):
    """An engine that runs the mask machine in this process."""

    blocks: "BlockCache"
    """The compiled blocks that its machines are made of."""
