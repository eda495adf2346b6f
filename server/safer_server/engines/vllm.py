"""vLLM, in this process (`vllm`) or behind HTTP (`vllm-http`), one or several.

A request goes to the replica with the least to do. One that fails goes to another as long as it has not begun; after that it is
the guard's to fail closed. A replica is asked only while it has proven that its constraint binds.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from safer_protocol.toolkit import Toolkit
from safer_server.engines.backend import Backend, BusyError, RefusedError, TooLongError, UnreachableError
from safer_server.engines.base import (
    ConstraintMode,
    ContextLengthError,
    EngineError,
    EngineRequest,
    EngineUnavailableError,
    Origin,
    Piece,
    ReplicaStatus,
)
from safer_server.engines.codec import Codec
from safer_server.engines.replica import Patience, Replica
from safer_server.engines.writing import Writer

logger = logging.getLogger(__name__)

BY_ITSELF = (ConstraintMode.MACHINE, ConstraintMode.GUIDANCE, ConstraintMode.XGRAMMAR)
"""The constraints that are tried where the operator names none, the best first."""


class VllmEngine:
    """Serves from backends that hold the same model."""

    def __init__(
        self,
        name: str,
        model: str,
        backends: Sequence[Backend],
        codec: Codec,
        toolkits: Sequence[Toolkit],
        modes: Sequence[ConstraintMode],
        patience: Patience,
    ) -> None:
        """Take the backends; each has to constrain replies of all the toolkits."""
        self.name = name
        self.model = model
        self._backends = backends
        self._codec = codec
        self._replicas = [
            Replica(str(number), backend, codec, toolkits, modes, patience) for number, backend in enumerate(backends)
        ]
        self._watching: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to send canaries."""
        self._watching = [asyncio.create_task(replica.watch()) for replica in self._replicas]

    def replicas(self) -> tuple[ReplicaStatus, ...]:
        """The replicas as their last canaries or requests left them."""
        return tuple(ReplicaStatus(one.name, one.mode is not None, one.mode) for one in self._replicas)

    async def stream(self, request: EngineRequest) -> AsyncGenerator[Piece, None]:
        """Yield the reply from the first replica that begins one."""
        tried: list[Replica] = []
        while (replica := self._least_busy(tried)) is not None and replica.mode is not None:
            tried.append(replica)
            origin, began = Origin(replica.name, replica.mode), False
            writer = Writer(replica.generate, self._codec, replica.context, request)
            try:
                with replica.working():
                    async with aclosing(writer.write(replica.mode)) as pieces:
                        async for piece in pieces:
                            first, began = not began, True
                            yield replace(piece, origin=origin) if first else piece
                return
            except TooLongError:
                raise ContextLengthError("the conversation is longer than the model's context") from None
            except RefusedError as error:
                logger.error("replica %s refuses a request", replica.name)  # what it says may repeat the request
                raise EngineError("vLLM refuses the request") from error
            except (UnreachableError, BusyError) as error:
                if isinstance(error, UnreachableError):
                    replica.eject(error)
                if began:
                    raise EngineError(f"replica {replica.name}: {error}") from error
        raise EngineUnavailableError("no replica could begin the reply")

    def _least_busy(self, tried: Sequence[Replica]) -> Replica | None:
        up = [replica for replica in self._replicas if replica.mode is not None and replica not in tried]
        return min(up, key=lambda replica: replica.busy, default=None)

    async def close(self) -> None:
        """Stop the canaries and release the backends."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        for backend in self._backends:
            await backend.close()
