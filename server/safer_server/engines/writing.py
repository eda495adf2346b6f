"""How a reply is written by one vLLM, by what can constrain it there.

machine            one request: the mask machine follows plan, trace and answer
guidance, xgrammar two requests: a grammar for the plan, then, behind the plan, one for the reply to it; the prompt is cached
none               requests without any constraint, until a whole reply verifies, a few times at most
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import anyio.to_thread

from safer_protocol.dialects import Dialect, plan_grammar, reply_grammar
from safer_protocol.plan import Plan
from safer_protocol.text import ANSWER_OPEN, Part, Reader, given_text, print_plan
from safer_protocol.toolkit import Toolkit
from safer_protocol.verify import verify
from safer_server.engines.backend import Chunk, Parameters, UnreachableError
from safer_server.engines.base import (
    ConstraintMode,
    ContextLengthError,
    EngineError,
    EngineRequest,
    FinishReason,
    Piece,
    TokenLimitError,
)
from safer_server.engines.codec import Codec, Prompt
from safer_server.vllm.options import MachineOptions

ATTEMPTS = 3
"""Replies that are asked for where nothing constrains them."""

LONGEST_TRACE = 2048
"""Tokens that plan and trace may take where nothing bounds them."""

_WARMER = 0.7
"""Lowest temperature of an attempt after the first, which would only say the same again."""

LEAST_ROOM = 384
"""Tokens that prompt and context must leave for a reply. The shortest traces take fewer; the machine closes before the end."""

Generate = Callable[[Prompt, Parameters], AsyncGenerator[Chunk, None]]
Pieces = AsyncGenerator[Piece, None]


class Writer:
    """Writes the reply to one request; `context` is the model's context length in tokens."""

    def __init__(self, generate: Generate, codec: Codec, context: int, request: EngineRequest) -> None:
        self._generate = generate
        self._codec = codec
        self._context = context
        self._request = request
        self._left = request.sampling.reply_tokens
        """Tokens that may still be written, where the caller set a limit."""

    def write(self, mode: ConstraintMode) -> Pieces:
        """Yield the reply."""
        match mode:
            case ConstraintMode.MACHINE:
                return self._by_machine()
            case ConstraintMode.GUIDANCE:
                return self._by_grammars(Dialect.LARK)
            case ConstraintMode.XGRAMMAR:
                return self._by_grammars(Dialect.EBNF)
            case ConstraintMode.NONE:
                return self._by_luck()

    async def _by_machine(self) -> Pieces:
        asked, sampling = self._request.constraint, self._request.sampling
        written = given_text(asked.plan)
        options = MachineOptions(
            policy_hash=self._request.toolkit.hash,
            depth=asked.depth,
            plan=asked.plan,
            answer_tokens=sampling.answer_tokens,
        )
        parameters = {"extra_args": options.arguments(), "stop_token_ids": [self._codec.end_of_cut]}
        last: tuple[int, ...] = ()
        prompt = await self._prompt(written)
        async with aclosing(self._ask(prompt, parameters, written)) as pieces:
            async for piece, ids in pieces:
                last = ids or last
                cut = last[-1:] == (self._codec.end_of_cut,)
                yield _finished(piece, "length" if cut else "stop")

    async def _by_grammars(self, dialect: Dialect) -> Pieces:
        asked, toolkit = self._request.constraint, self._request.toolkit
        plan, prompt = asked.plan, await self._prompt()
        written = "" if plan is None else print_plan(plan)
        if plan is None:
            text = ""
            grammar = plan_grammar(toolkit, dialect, asked.depth)
            async with aclosing(self._ask(prompt, constrained_by(grammar))) as pieces:
                async for piece, _ in pieces:
                    text += piece.text
                    yield replace(piece, finish=None)
            plan = _read_plan(text, toolkit)
        answer_tokens = self._request.sampling.answer_tokens
        grammar = reply_grammar(toolkit, plan, dialect, answer_tokens)
        text, spent = "", 0
        prompt = await self._prompt(print_plan(plan))
        async with aclosing(self._ask(prompt, constrained_by(grammar), written)) as pieces:
            async for piece, ids in pieces:
                spent += len(ids) if f"\n{ANSWER_OPEN}\n" in text else 0
                text += piece.text
                yield _finished(piece, "length" if spent > answer_tokens else "stop")

    async def _by_luck(self) -> Pieces:
        sampling = self._request.sampling
        longest = min(LONGEST_TRACE + sampling.answer_tokens, sampling.reply_tokens or self._context)
        parameters: dict[str, Any] = {"max_tokens": longest}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                reply = await self._whole(parameters)
            except TokenLimitError:
                if attempt == ATTEMPTS:
                    raise
            else:
                if attempt == ATTEMPTS or verify(reply.text, self._request.toolkit).valid:
                    yield reply
                    return
            parameters["temperature"] = max(_WARMER, sampling.temperature)

    async def _whole(self, parameters: Mapping[str, Any]) -> Piece:
        """One attempt at a reply, as a single piece."""
        written = given_text(self._request.constraint.plan)
        whole = Piece("", finish="stop")
        prompt = await self._prompt(written)
        async with aclosing(self._ask(prompt, parameters, written)) as pieces:
            async for piece, _ in pieces:
                whole = replace(
                    whole,
                    text=whole.text + piece.text,
                    tokens=whole.tokens + piece.tokens,
                    prompt_tokens=whole.prompt_tokens or piece.prompt_tokens,
                )
        return whole

    async def _prompt(self, written: str = "") -> Prompt:
        """Encode the conversation off the event loop: a long one takes its time."""
        return await anyio.to_thread.run_sync(self._codec.prompt, self._request.turns, written)

    async def _ask(
        self, prompt: Prompt, parameters: Mapping[str, Any], written: str = ""
    ) -> AsyncGenerator[tuple[Piece, tuple[int, ...]], None]:
        """Send one request; yield its pieces with their token ids, the last with a preliminary `finish`.

        Text that stands at the end of the prompt, but is part of the reply, comes with the first piece.
        """
        decoder, first, finish = self._codec.decoder(), True, None
        async with aclosing(self._generate(prompt, {**self._sampling(), **parameters})) as chunks:
            async for chunk in chunks:
                if first and self._context - chunk.prompt_tokens < LEAST_ROOM:
                    message = f"the conversation has {chunk.prompt_tokens} tokens, more than this model can answer"
                    raise ContextLengthError(message)
                if self._left is not None:
                    self._left -= len(chunk.ids)
                finish = chunk.finish
                if not chunk.ids and finish is None:
                    continue
                yield (
                    Piece(
                        (written if first else "") + decoder.decode(chunk.ids),
                        tokens=len(chunk.ids),
                        prompt_tokens=chunk.prompt_tokens if first else None,
                        finish=None if finish is None else "stop",
                    ),
                    chunk.ids,
                )
                first = False
        if finish == "length":
            raise TokenLimitError("the reply was cut at a token limit")
        if finish != "stop":
            raise UnreachableError(f"the reply ended with {finish or 'no word why'}")

    def _sampling(self) -> dict[str, Any]:
        sampling = self._request.sampling
        return {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            # Told, so that a checkpoint's generation_config.json does not say otherwise.
            "top_k": 0,
            "repetition_penalty": 1.0,
            "seed": sampling.seed,
            "max_tokens": None if self._left is None else max(self._left, 1),
            "detokenize": False,
        }


def constrained_by(grammar: str) -> dict[str, Any]:
    """The parameters of a request under a grammar; should the server have the machine, it stands aside."""
    return {
        "structured_outputs": {"grammar": grammar},
        "extra_args": MachineOptions(constrain=False).arguments(),
    }


def _finished(piece: Piece, finish: FinishReason) -> Piece:
    """The same piece; if it is the last, with the reason why the reply ended."""
    return piece if piece.finish is None else replace(piece, finish=finish)


def _read_plan(text: str, toolkit: Toolkit) -> Plan:
    reader = Reader(toolkit)
    for line in text.split("\n")[:-1]:
        reader.feed(line)
    if reader.plan is None or reader.part is not Part.TRACE_OPEN or reader.violations:
        raise EngineError("what was constrained to be a plan is none")
    return reader.plan
