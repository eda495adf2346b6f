"""The contract between the guard and whatever generates tokens."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from safer_protocol.plan import Depth, Plan
from safer_protocol.prompt import Turn
from safer_protocol.toolkit import Toolkit, default_toolkit

if TYPE_CHECKING:
    from safer_protocol.constrain.cache import BlockCache

EngineName = Literal["hf", "scripted", "vllm", "vllm-http"]
FinishReason = Literal["stop", "length"]


class ConstraintMode(StrEnum):
    """What keeps the decoder within the protocol. Whatever it is, every reply is verified."""

    MACHINE = "machine"
    """The mask machine: plan, trace and answer in one pass."""
    GUIDANCE = "guidance"
    """A stock vLLM server with the guidance backend: a grammar for the plan, then one for the reply."""
    XGRAMMAR = "xgrammar"
    """The same with the xgrammar backend."""
    NONE = "none"
    """Nothing: replies are only verified."""


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
class Origin:
    """Where a reply comes from: the name of the replica, and what constrained it."""

    replica: str
    constraint: ConstraintMode


@dataclass(frozen=True)
class Piece:
    """A stretch of generated text.

    `tokens` counts the tokens it stands for. The first piece carries `prompt_tokens` and `origin` (and usually no text); the last
    carries `finish`: `stop` when the reply closed by itself, `length` when a limit cut the answer.
    """

    text: str
    tokens: int = 0
    prompt_tokens: int | None = None
    origin: Origin | None = None
    finish: FinishReason | None = None


@dataclass(frozen=True)
class ReplicaStatus:
    """A replica as it was last found: whether it is up, and what constrains it where that is known."""

    name: str
    up: bool
    constraint: ConstraintMode | None


class EngineError(Exception):
    """The engine could not finish the reply; the guard fails closed."""


class EngineUnavailableError(EngineError):
    """No engine could be reached at all."""


class TokenLimitError(EngineError):
    """The reply did not fit into the caller's limit, or into what the context had left."""


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

    async def start(self) -> None:
        """Begin to watch the replicas, if there are any to watch; called once, in the event loop that will serve."""
        ...

    def replicas(self) -> Sequence[ReplicaStatus]:
        """What is known of each replica; a request sent now would be served where one is up. Quick, asks nobody."""
        ...

    async def close(self) -> None:
        """Release threads, memory and connections."""
        ...


@runtime_checkable
class Constrained(Protocol):
    """An engine that runs the mask machine in this process."""

    blocks: "BlockCache"
    """The compiled blocks that its machines are made of."""


@runtime_checkable
class Reducing(Protocol):
    """An engine whose model's processor is known, so that large pictures need not be kept until it sees them."""

    def reduce(self, image: Any) -> Any:
        """Return an RGB `PIL.Image.Image`, never a larger one, of which the model sees the same; called from any thread."""
        ...
