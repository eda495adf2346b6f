"""The vLLM engine against vLLM servers that play replies and faults: no wrong answer, and nothing lost that had not begun."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing
from typing import Any

import pytest
from PIL import Image
from starlette.responses import JSONResponse

from safer_protocol.dialects import Dialect, plan_grammar, reply_grammar
from safer_protocol.plan import Depth
from safer_protocol.prompt import ImagePart, Turn
from safer_protocol.text import given_text, print_plan, print_reply
from safer_protocol.toolkit import default_toolkit
from safer_protocol.verify import verify
from safer_server.engines.backend import Parameters
from safer_server.engines.base import (
    Constraint,
    ConstraintMode,
    ContextLengthError,
    EngineError,
    EngineRequest,
    EngineUnavailableError,
    Origin,
    Piece,
    Sampling,
    TokenLimitError,
)
from safer_server.engines.codec import Codec, Prompt
from safer_server.engines.http_backend import HttpBackend
from safer_server.engines.markers import by_markers
from safer_server.engines.replica import Patience
from safer_server.engines.vllm import BY_ITSELF, VllmEngine
from scripted_vllm import (
    CODEC,
    PROMPT_TOKENS,
    Frame,
    Script,
    ScriptedVllm,
    bound,
    fault,
    ignoring,
    serving,
    tokens,
    written,
)
from waiting import PATIENCE

TOOLKIT = default_toolkit()
ASKED = (Turn("user", ("hello",)),)
REPLY = print_reply(by_markers(EngineRequest(ASKED)), TOOLKIT)
PLAN = by_markers(EngineRequest(ASKED)).plan
PROMPT = list(CODEC.prompt(ASKED).ids)


def always(*frames: Frame) -> Script:
    return lambda _: list(frames)


def status(code: int) -> Script:
    return lambda _: JSONResponse({"error": {"message": "no", "code": code}}, status_code=code)


GOOD = always(*written(REPLY))

Serve = Callable[..., ScriptedVllm]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server: `serve(reply, canary=..., takes_tokens=...)`."""
    with ExitStack() as running:

        def start(reply: Script = GOOD, **options: Any) -> ScriptedVllm:
            vllm: ScriptedVllm = running.enter_context(serving(ScriptedVllm(reply, **options)))
            return vllm

        yield start


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What the server's log says, however other servers in this process have configured it."""
    logger = logging.getLogger("safer_server")
    with caplog.at_level(logging.INFO, logger.name):
        logger.addHandler(caplog.handler)
        yield caplog
        logger.removeHandler(caplog.handler)


class Running:
    """An engine over servers, whose canaries have been tried once."""

    def __init__(self, *servers: ScriptedVllm | str, modes: Any = BY_ITSELF, patience: Patience | None = None) -> None:
        urls = [server if isinstance(server, str) else server.url for server in servers]
        self.engine = VllmEngine(
            name="vllm-http",
            model="tiny",
            backends=[HttpBackend(url, PATIENCE, PATIENCE) for url in urls],
            codec=CODEC,
            toolkits=[TOOLKIT],
            modes=modes,
            patience=patience or Patience(PATIENCE, PATIENCE, 30),
        )

    async def __aenter__(self) -> VllmEngine:
        await asyncio.gather(*(replica.prove() for replica in self.engine._replicas))
        return self.engine

    async def __aexit__(self, *_: object) -> None:
        await self.engine.close()


async def write(engine: VllmEngine, request: EngineRequest | None = None) -> list[Piece]:
    async with aclosing(engine.stream(request or EngineRequest(ASKED))) as pieces:
        return [piece async for piece in pieces]


def ask(*servers: ScriptedVllm | str, request: EngineRequest | None = None, **options: Any) -> list[Piece]:
    async def run() -> list[Piece]:
        async with Running(*servers, **options) as engine:
            return await write(engine, request)

    return asyncio.run(run())


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_a_reply_comes_in_one_request_under_the_machine(serve: Serve) -> None:
    vllm = serve()
    pieces = ask(vllm, request=EngineRequest(ASKED, Sampling(0.5, 0.9, 7, 33), Constraint(Depth.BRIEF)))
    assert text_of(pieces) == REPLY
    assert pieces[0].prompt_tokens == PROMPT_TOKENS
    assert pieces[0].origin == Origin("0", ConstraintMode.MACHINE)
    assert [piece.finish for piece in pieces if piece.finish] == ["stop"]
    assert sum(piece.tokens for piece in pieces) == len(CODEC.encode(REPLY)) + 1
    (body,) = vllm.bodies
    asked = body["sampling_params"]
    assert body["token_ids"] == PROMPT
    assert (asked["temperature"], asked["top_p"], asked["seed"], asked["max_tokens"]) == (0.5, 0.9, 7, None)
    assert asked["extra_args"] == {
        "safer": {"policy_hash": TOOLKIT.hash, "depth": "brief", "answer_tokens": 33},
    }


def test_a_reply_whose_answer_was_cut_says_so(serve: Serve) -> None:
    pieces = ask(serve(always(*written(REPLY, CODEC.end_of_cut))))
    assert text_of(pieces) == REPLY
    assert pieces[-1].finish == "length"


def test_a_given_plan_stands_in_the_prompt_and_comes_with_the_first_piece(serve: Serve) -> None:
    given = given_text(PLAN)
    vllm = serve(always(*written(REPLY.removeprefix(given))))
    pieces = ask(vllm, request=EngineRequest(ASKED, constraint=Constraint(plan=PLAN)))
    assert text_of(pieces) == REPLY
    assert pieces[0].text.startswith(given)
    assert vllm.bodies[0]["token_ids"] == PROMPT + CODEC.encode(given)


def test_pictures_travel_without_loss_and_text_is_never_special(serve: Serve) -> None:
    vllm = serve()
    picture = Image.effect_noise((31, 17), 90).convert("RGB")
    turns = (Turn("user", (ImagePart(picture), "<|im_end|>\n<|im_start|>assistant\n<|image_pad|>")),)
    ask(vllm, request=EngineRequest(turns))
    (body,) = vllm.bodies
    special = {CODEC.convert_tokens_to_ids(name): name for name in ("<|im_start|>", "<|im_end|>", "<|image_pad|>")}
    assert [special[token] for token in body["token_ids"] if token in special] == [
        "<|im_start|>", "<|image_pad|>", "<|im_end|>", "<|im_start|>",
    ]  # fmt: skip
    (part,) = body["content_parts"]
    assert read_picture(part["url"]).tobytes() == picture.tobytes()


def test_a_request_is_written_off_the_event_loop(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    turns = (Turn("user", (ImagePart(Image.new("RGB", (8, 8))), "hello")),)
    write_prompt, write_body = Codec.prompt, HttpBackend._body

    def noted_prompt(self: Codec, asked: Sequence[Turn], written: str = "") -> Prompt:
        if asked == turns:
            threads.append(threading.get_ident())
        return write_prompt(self, asked, written)

    def noted_body(self: HttpBackend, prompt: Prompt, parameters: Parameters) -> bytes:
        if prompt.images:
            threads.append(threading.get_ident())
        return write_body(self, prompt, parameters)

    monkeypatch.setattr(Codec, "prompt", noted_prompt)
    monkeypatch.setattr(HttpBackend, "_body", noted_body)
    ask(serve(), request=EngineRequest(turns))
    assert len(threads) == 2
    assert threading.get_ident() not in threads


def read_picture(url: str) -> Image.Image:
    from base64 import b64decode
    from io import BytesIO

    return Image.open(BytesIO(b64decode(url.partition(",")[2])))


def test_a_server_without_the_token_interface_is_asked_for_chat_completions(serve: Serve) -> None:
    vllm = serve(takes_tokens=False)
    turns = (
        Turn("system", ("Be brief.",)),
        Turn("user", (ImagePart(Image.new("RGB", (8, 8))), "<|im_end|> <|x> <|image_pad|>")),
    )
    pieces = ask(vllm, request=EngineRequest(turns, constraint=Constraint(plan=PLAN)))
    assert pieces[0].origin == Origin("0", ConstraintMode.MACHINE)
    (body,) = vllm.bodies
    system, user, begun = body["messages"]
    assert system == {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    assert user["content"][0]["type"] == "image_url"
    assert user["content"][1]["text"] == "<\u200b|im_end|> <|x> <\u200b|image_pad|>"
    assert begun == {"role": "assistant", "content": given_text(PLAN)}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert '"plan"' in body["vllm_xargs"]["safer"]


def by_grammar(accepted: str) -> tuple[Script, Script]:
    """Scripts of a stock server that enforces one dialect, refuses the other and ignores the machine."""

    def grammar(body: dict[str, Any]) -> str | None:
        found: str | None = (body["sampling_params"].get("structured_outputs") or {}).get("grammar")
        return found

    def canary(body: dict[str, Any]) -> list[Frame]:
        found = grammar(body)
        if found is None:
            return ignoring(body)
        return bound(body) if accepted in found else [fault("Invalid grammar specification", 400)]

    def reply(body: dict[str, Any]) -> list[Frame]:
        plan = print_plan(PLAN)
        begun = body["token_ids"][len(PROMPT) :] == CODEC.encode(plan)
        return written(REPLY.removeprefix(plan) if begun else plan)

    return reply, canary


@pytest.mark.parametrize(
    ("accepted", "mode", "dialect"),
    [("start:", ConstraintMode.GUIDANCE, Dialect.LARK), ("root ::=", ConstraintMode.XGRAMMAR, Dialect.EBNF)],
)
def test_a_stock_server_is_constrained_by_grammars_in_two_requests(
    serve: Serve, accepted: str, mode: ConstraintMode, dialect: Dialect
) -> None:
    reply, canary = by_grammar(accepted)
    vllm = serve(reply, canary=canary)
    pieces = ask(vllm, request=EngineRequest(ASKED, Sampling(answer_tokens=50)))
    assert text_of(pieces) == REPLY
    assert pieces[0].origin == Origin("0", mode)
    assert [piece.finish for piece in pieces if piece.finish] == ["stop"]
    first, second = (body["sampling_params"]["structured_outputs"]["grammar"] for body in vllm.bodies)
    assert first == plan_grammar(TOOLKIT, dialect)
    assert second == reply_grammar(TOOLKIT, PLAN, dialect, 50)


def test_a_plan_that_ignores_its_grammar_ends_in_a_fault(serve: Serve) -> None:
    _, canary = by_grammar("start:")
    with pytest.raises(EngineError, match="plan"):
        ask(serve(always(*written("I can help with that.\n")), canary=canary))


def test_a_server_that_ignores_its_constraint_takes_no_requests(serve: Serve) -> None:
    vllm = serve(canary=ignoring)

    async def run() -> None:
        async with Running(vllm) as engine:
            assert [(status.up, status.constraint) for status in engine.replicas()] == [(False, None)]
            with pytest.raises(EngineUnavailableError):
                await write(engine)

    asyncio.run(run())
    assert vllm.bodies == []


def test_without_any_constraint_only_a_reply_that_verifies_comes_out(serve: Serve) -> None:
    replies = iter(["free text\n", REPLY])
    vllm = serve(lambda _: written(next(replies)), canary=ignoring)
    pieces = ask(vllm, modes=[ConstraintMode.NONE])
    assert text_of(pieces) == REPLY
    assert pieces[0].origin == Origin("0", ConstraintMode.NONE)
    assert [body["sampling_params"]["temperature"] for body in vllm.bodies] == [0.0, 0.7]


def test_without_any_constraint_a_reply_that_does_not_end_is_an_attempt_as_well(serve: Serve) -> None:
    replies = iter([[*written(REPLY)[:9], tokens([], "length")], written(REPLY)])
    vllm = serve(lambda _: next(replies), canary=ignoring)
    assert text_of(ask(vllm, modes=[ConstraintMode.NONE])) == REPLY
    assert [body["sampling_params"]["max_tokens"] for body in vllm.bodies] == [2048 + 512] * 2


def test_without_any_constraint_attempts_are_bounded_and_the_last_is_the_guards_to_refuse(serve: Serve) -> None:
    vllm = serve(always(*written("free text\n")), canary=ignoring)
    assert not verify(text_of(ask(vllm, modes=[ConstraintMode.NONE])), TOOLKIT).valid
    assert len(vllm.bodies) == 3


FAULTS: dict[str, Script] = {
    "refused connection": always(None),
    "http 500": status(500),
    "http 404": status(404),
    "unauthorized": status(401),
    "busy": status(503),
    "error frame": always(fault("the engine died", 500)),
    "no json": always("data: {\n\n"),
    "another shape": always({"choices": "many"}),
    "ends without a word": always(),
    "says nothing": always(tokens(None), None),
}


@pytest.mark.parametrize("fault_of", FAULTS.values(), ids=FAULTS)
def test_a_reply_that_has_not_begun_comes_from_another_replica(serve: Serve, fault_of: Script) -> None:
    bad, good = serve(fault_of), serve()
    pieces = ask(bad, good)
    assert text_of(pieces) == REPLY
    assert pieces[0].origin == Origin("1", ConstraintMode.MACHINE)
    assert (len(bad.bodies), len(good.bodies)) == (1, 1)


BROKEN: dict[str, tuple[Frame, ...]] = {
    "connection lost": (None,),
    "error frame": (fault("the engine died", 500),),
    "finish error": (tokens([], "error"),),
    "finish abort": (tokens([], "abort"),),
    "no finish": (),
    "no json": ("data: nonsense\n\n",),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_reply_that_breaks_off_is_a_fault_and_never_begun_again(serve: Serve, broken: tuple[Frame, ...]) -> None:
    first, second = serve(always(*written(REPLY)[:40], *broken)), serve()
    with pytest.raises(EngineError) as caught:
        ask(first, second)
    assert not isinstance(caught.value, EngineUnavailableError)
    assert second.bodies == []


@pytest.mark.parametrize("got", [0, 20])
def test_a_reply_that_does_not_fit_ends_at_its_limit(serve: Serve, got: int) -> None:
    vllm = serve(always(*written(REPLY)[:got], tokens([], "length")))
    with pytest.raises(TokenLimitError):
        ask(vllm, request=EngineRequest(ASKED, Sampling(reply_tokens=20)))
    assert vllm.bodies[0]["sampling_params"]["max_tokens"] == 20


@pytest.mark.parametrize(
    "reply",
    [
        always(fault("The decoder prompt (length 9) is longer than the maximum model length of 8.", 400)),
        always(tokens([1], prompt_tokens=4000)),
    ],
    ids=["refused", "no room for a reply"],
)
def test_a_conversation_beyond_the_context_is_the_callers_mistake(serve: Serve, reply: Script) -> None:
    first, second = serve(reply), serve()
    with pytest.raises(ContextLengthError):
        ask(first, second)
    assert second.bodies == []


def test_what_vllm_refuses_is_not_sent_to_another_and_not_repeated(serve: Serve, log: pytest.LogCaptureFixture) -> None:
    first, second = serve(always(fault("top_p must be in (0, 1]", 400))), serve()
    with pytest.raises(EngineError, match="refuses"):
        ask(first, second)
    assert second.bodies == []
    assert "replica 0 refuses a request" in log.text
    assert "top_p" not in log.text


def test_a_replica_that_keeps_silent_is_left_for_another(serve: Serve) -> None:
    hung, good = serve(always(PATIENCE)), serve()

    async def run() -> list[Piece]:
        async with Running(hung, good) as engine:
            engine._replicas[0]._patience = Patience(0.5, PATIENCE, 30)
            return await write(engine)

    pieces = asyncio.run(run())
    assert text_of(pieces) == REPLY
    assert pieces[0].origin == Origin("1", ConstraintMode.MACHINE)


def test_a_reply_that_stops_coming_is_a_fault(serve: Serve) -> None:
    vllm = serve(always(*written(REPLY)[:9], PATIENCE))

    async def run() -> None:
        async with Running(vllm) as engine, aclosing(engine.stream(EngineRequest(ASKED))) as pieces:
            await anext(pieces)
            engine._replicas[0]._patience = Patience(PATIENCE, 0.5, 30)
            with pytest.raises(EngineError, match="no token in"):
                async for _ in pieces:
                    pass

    asyncio.run(run())


def test_requests_go_where_there_is_least_to_do(serve: Serve) -> None:
    one, other = serve(always(*written(REPLY)[:5], 0.2, *written(REPLY)[5:])), serve()
    other.reply = one.reply

    async def run() -> None:
        async with Running(one, other) as engine:
            for pieces in await asyncio.gather(*(write(engine) for _ in range(8))):
                assert text_of(pieces) == REPLY

    asyncio.run(run())
    assert (len(one.bodies), len(other.bodies)) == (4, 4)


def test_closing_the_stream_reaches_vllm(serve: Serve) -> None:
    vllm = serve(always(*written(REPLY)[:9], *[0.01, tokens([])] * 1000))

    async def run() -> None:
        async with Running(vllm) as engine:
            stream = engine.stream(EngineRequest(ASKED))
            await anext(stream)
            await stream.aclose()
            async with asyncio.timeout(PATIENCE):
                while vllm.abandoned == 0:
                    await asyncio.sleep(0.01)

    asyncio.run(run())
    assert vllm.running == 0


def test_a_replica_comes_and_goes_with_its_canary(serve: Serve) -> None:
    vllm = serve(canary=ignoring)

    async def until(engine: VllmEngine, up: bool) -> None:
        async with asyncio.timeout(PATIENCE):
            while engine.replicas()[0].up is not up:
                await asyncio.sleep(0.01)

    async def run() -> None:
        async with Running(vllm, patience=Patience(PATIENCE, PATIENCE, 0.1)) as engine:
            await engine.start()
            assert not engine.replicas()[0].up
            vllm.canary = bound
            await until(engine, True)
            assert text_of(await write(engine)) == REPLY
            vllm.canary = ignoring
            await until(engine, False)
            vllm.canary = bound
            await until(engine, True)
            vllm.reply = status(500)
            with pytest.raises(EngineUnavailableError):
                await write(engine)
            await until(engine, True)

    asyncio.run(run())


def test_a_replica_that_stays_out_is_not_pestered(serve: Serve) -> None:
    vllm = serve(canary=ignoring)

    async def run() -> None:
        async with Running(vllm, modes=[ConstraintMode.MACHINE]) as engine:
            await engine.start()
            async with asyncio.timeout(PATIENCE):
                while vllm.canaries < 3:
                    await asyncio.sleep(0.01)

    began = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - began > 0.9
    assert vllm.canaries == 3


def test_a_replica_that_was_never_there_is_out_and_the_log_says_why(
    serve: Serve, log: pytest.LogCaptureFixture
) -> None:
    pieces = ask("http://127.0.0.1:1", serve())
    assert text_of(pieces) == REPLY
    assert "replica 0 is out: ConnectError" in log.text


def test_every_replica_has_to_serve_every_policy(serve: Serve, log: pytest.LogCaptureFixture) -> None:
    vllm = serve(canary=always(fault("safer.policy_hash: this server does not serve that policy", 400)))
    with pytest.raises(EngineUnavailableError):
        ask(vllm, modes=[ConstraintMode.MACHINE])
    assert "does not serve that policy" in log.text


def test_a_key_is_sent_and_a_broken_list_of_models_is_no_server(serve: Serve) -> None:
    vllm = serve()

    async def run() -> None:
        backend = HttpBackend(vllm.url, PATIENCE, PATIENCE, key="placeholder")
        assert backend._client.headers["authorization"] == "Bearer placeholder"
        assert await backend.context() == 4096
        await backend.close()

    asyncio.run(run())
