"""The contract between the vLLM engine and one vLLM, in this process or behind HTTP: tokens in, tokens out.

BackendError                  a request was not answered
├── UnreachableError          nothing wrong with the request: another replica may answer it, if it has not begun
├── BusyError                 the same, but the replica is well
└── RefusedError              vLLM will not have this request; the message is vLLM's, for the log alone
    └── TooLongError          it is longer than the model's context
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from safer_server.engines.codec import Prompt

Parameters = Mapping[str, Any]
"""Fields of vLLM's `SamplingParams`."""


@dataclass(frozen=True)
class Chunk:
    """Some tokens of a reply; the last chunk says why it is the last."""

    ids: tuple[int, ...]
    prompt_tokens: int
    finish: str | None = None


class BackendError(Exception):
    """A request was not answered."""


class UnreachableError(BackendError):
    """The replica cannot be reached, does not answer in time, or has failed."""


class BusyError(BackendError):
    """The replica has too much to do."""


class RefusedError(BackendError):
    """vLLM will not have this request."""


class TooLongError(RefusedError):
    """The prompt does not fit into the model's context."""


def refusal(said: str) -> RefusedError:
    """Make the error of a request that vLLM refuses with this message."""
    return TooLongError(said) if "longer than the maximum" in said else RefusedError(said)


class Backend(Protocol):
    """One vLLM; its methods raise `BackendError`."""

    async def context(self) -> int:
        """Ask whether it lives, and how many tokens prompt and reply may have together."""
        ...

    def generate(self, prompt: Prompt, parameters: Parameters) -> AsyncGenerator[Chunk, None]:
        """Yield the reply as it is written; closing the iterator aborts it."""
        ...

    async def close(self) -> None:
        """Release connections or the engine."""
        ...
