"""One vLLM as the engine sees it: whether it is up, how it is constrained, how much it has to do."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass

from safer_protocol.dialects import Dialect, plan_grammar
from safer_protocol.plan import Depth
from safer_protocol.prompt import Turn
from safer_protocol.text import PLAN_OPEN
from safer_protocol.toolkit import Toolkit
from safer_server.engines.backend import Backend, BackendError, Chunk, Parameters, RefusedError, UnreachableError
from safer_server.engines.base import ConstraintMode
from safer_server.engines.codec import Codec, Prompt
from safer_server.engines.writing import constrained_by
from safer_server.vllm.options import MachineOptions

logger = logging.getLogger(__name__)

CANARY_TOKENS = 8
"""Enough to see the opening tag of a plan."""

BIAS = 100.0
"""Added to the logit of a token that no reply begins with: a server that is not constrained writes nothing else."""

_FIRST_PAUSE = 0.5
"""Seconds; the first pause after a canary that failed is twice as long."""


@dataclass(frozen=True)
class Patience:
    """How many seconds a replica gets: for the first tokens of a reply, for the next ones, and between two canaries."""

    first_token: float
    next_token: float
    canary: float


class Replica:
    """A replica takes requests while `mode` is set: from a canary that it passed to the first sign of trouble."""

    def __init__(
        self,
        name: str,
        backend: Backend,
        codec: Codec,
        toolkits: Sequence[Toolkit],
        modes: Sequence[ConstraintMode],
        patience: Patience,
    ) -> None:
        """Take the toolkits that it has to serve, and the constraints that may be tried, the best first."""
        self.name = name
        self.mode: ConstraintMode | None = None
        self.context = 0
        """Tokens that prompt and reply may have together, once the replica is up."""
        self.busy = 0
        """Requests it is working on."""
        self._backend = backend
        self._codec = codec
        self._toolkits = toolkits
        self._modes = modes
        self._patience = patience
        self._trouble = asyncio.Event()
        self._reason = ""

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count a request while it is being worked on."""
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1

    def eject(self, error: BackendError) -> None:
        """Take no more requests until a canary passes, which is tried at once."""
        self._go_out(error)
        self._trouble.set()

    def _go_out(self, error: BackendError) -> None:
        if str(error) != self._reason:
            logger.warning("replica %s is out: %s", self.name, error)
        self.mode, self._reason = None, str(error)

    async def generate(self, prompt: Prompt, parameters: Parameters) -> AsyncGenerator[Chunk, None]:
        """Yield the tokens of a reply; raise `UnreachableError` where they are not there in time."""
        seconds = self._patience.first_token
        async with aclosing(self._backend.generate(prompt, parameters)) as chunks:
            while True:
                try:
                    async with asyncio.timeout(seconds):
                        chunk = await anext(chunks, None)
                except TimeoutError:
                    raise UnreachableError(f"no token in {seconds:g} s") from None
                if chunk is None:
                    return
                yield chunk
                seconds = self._patience.next_token

    async def watch(self) -> None:
        """Try a canary now, at intervals and after trouble; while it fails, after pauses that grow."""
        pause = _FIRST_PAUSE
        while True:
            self._trouble.clear()
            await self.prove()
            pause = _FIRST_PAUSE if self.mode else min(2 * pause, self._patience.canary)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience.canary if self.mode else pause):
                    await self._trouble.wait()

    async def prove(self) -> None:
        """Find the best constraint that is proven to bind; with none, the replica is out."""
        started = time.monotonic()
        try:
            context = await self._backend.context()
            mode = await self._binding()
        except BackendError as error:
            self._go_out(error)
            return
        if mode is not self.mode:
            seconds = time.monotonic() - started
            logger.info("replica %s is in, constrained by %s (%.1f s)", self.name, mode, seconds)
        self.context, self.mode, self._reason = context, mode, ""

    async def _binding(self) -> ConstraintMode:
        found: list[str] = []
        for mode in self._modes:
            try:
                if mode is ConstraintMode.NONE or await self._binds(mode):
                    return mode
                found.append(f"{mode} is ignored")
            except RefusedError as error:
                found.append(f"{mode} is refused ({error})")
        raise UnreachableError("nothing constrains it: " + ", ".join(found))

    async def _binds(self, mode: ConstraintMode) -> bool:
        for toolkit in self._toolkits:
            if not await self._is_bound(mode, toolkit):
                return False
        return True

    async def _is_bound(self, mode: ConstraintMode, toolkit: Toolkit) -> bool:
        """Whether a reply begins as it must, although another beginning is made as likely as can be."""
        text, decoder = "", self._codec.decoder()
        prompt = self._codec.prompt((Turn("user", ("Hello.",)),))
        async with aclosing(self.generate(prompt, _canary(mode, toolkit, self._codec))) as chunks:
            async for chunk in chunks:
                text += decoder.decode(chunk.ids)
        return text.startswith(f"{PLAN_OPEN}\n")


def _canary(mode: ConstraintMode, toolkit: Toolkit, codec: Codec) -> Parameters:
    (lure,) = codec.encode("!")
    common = {
        "temperature": 0.0,
        "max_tokens": CANARY_TOKENS,
        "detokenize": False,
        "logit_bias": {lure: BIAS},
    }
    match mode:
        case ConstraintMode.MACHINE:
            options = MachineOptions(policy_hash=toolkit.hash, depth=Depth.BRIEF)
            return {**common, "extra_args": options.arguments()}
        case ConstraintMode.GUIDANCE | ConstraintMode.XGRAMMAR:
            dialect = Dialect.LARK if mode is ConstraintMode.GUIDANCE else Dialect.EBNF
            grammar = plan_grammar(toolkit, dialect, Depth.BRIEF)
            return {**common, **constrained_by(grammar)}
        case ConstraintMode.NONE:
            return common
