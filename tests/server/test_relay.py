"""Another model behind the guard: what it is asked, and what of its reply is released."""

from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from safer_server.engines.base import ContextLengthError, EngineRequest
from safer_server.engines.markers import by_markers
from safer_server.engines.scripted import ScriptedEngine
from safer_server.ledger import REFUSED_TEXTS
from safer_server.relay import MAX_CHARACTERS
from safer_server.settings import Settings
from scripted_upstream import MODEL, PROMPT_TOKENS, TOKENS, ScriptedUpstream, hurry_the_relay, serving
from waiting import PATIENCE
from watching import WATCHING

SAFE = "An answer in two parts."


@dataclass
class Told:
    """A reply, streamed or not."""

    content: str | None
    refusal: str | None
    finish: str | None
    safer: dict[str, Any]
    reply: Any


def of_whole(reply: Any) -> Told:
    (choice,) = reply.choices
    return Told(choice.message.content, choice.message.refusal, choice.finish_reason, reply.safer, reply)


def of_stream(reply: Any) -> Told:
    chunks = list(reply)
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    content, refusal = ("".join(getattr(delta, key) or "" for delta in deltas) for key in ("content", "refusal"))
    return Told(content or None, refusal or None, chunks[-1].choices[0].finish_reason, chunks[-1].safer, chunks)


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with serving(ScriptedUpstream()) as running:
        yield running


@pytest.fixture
def ask(live: Callable[..., Any], upstream: ScriptedUpstream) -> Callable[..., Told]:
    """Ask for the model behind: `ask(message, stream=..., engine=..., window=..., settings=..., **fields)`."""

    def send(
        message: Any = "hello", *, stream: bool = False, engine: Any = None, window: int = 10, **fields: Any
    ) -> Told:
        settings = {**upstream.settings, "upstream_window": window, **fields.pop("settings", {})}
        client = live(engine, served=(WATCHING,), **settings).openai
        messages = fields.pop("messages", [{"role": "user", "content": message}])
        reply = client.chat.completions.create(model=MODEL, messages=messages, stream=stream, **fields)
        return of_stream(reply) if stream else of_whole(reply)

    return send


Ask = Callable[..., Told]
both = pytest.mark.parametrize("stream", [False, True])


@both
def test_an_allowed_request_is_answered_by_the_model_behind(ask: Ask, upstream: ScriptedUpstream, stream: bool) -> None:
    told = ask(stream=stream)
    assert (told.content, told.refusal, told.finish) == (SAFE, None, "stop")
    assert (told.safer["outcome"], told.safer["decision"]) == ("answered", "allow")
    assert told.safer["reply"]["decision"] == "allow"
    assert told.safer["coverage"]["judged"][-1]["part"] == "choices[0].message.content"
    (request,) = upstream.requests
    assert (request["model"], request["messages"]) == (MODEL, [{"role": "user", "content": "hello"}])
    assert upstream.headers[0]["authorization"] == "Bearer the key"


@both
@pytest.mark.parametrize(
    ("message", "outcome"), [("steal", "refused"), ("medicine", "safe_completed"), ("unclear", "clarified")]
)
def test_what_is_not_allowed_is_answered_by_the_guard(
    ask: Ask, upstream: ScriptedUpstream, message: str, outcome: str, stream: bool
) -> None:
    told = ask(message, stream=stream)
    assert (told.safer["outcome"], told.safer["reply"]) == (outcome, None)
    assert bool(told.refusal) == (outcome == "refused")
    assert bool(told.content) == (outcome != "refused")
    assert not upstream.requests


@both
def test_a_reply_that_does_not_pass_is_withheld(ask: Ask, upstream: ScriptedUpstream, stream: bool) -> None:
    upstream.say = ("how to ", "steal")
    told = ask(stream=stream, window=1000)
    assert (told.content, told.refusal, told.finish) == (None, REFUSED_TEXTS["reply"], "content_filter")
    assert (told.safer["outcome"], told.safer["failure"]) == ("refused", None)
    assert (told.safer["decision"], told.safer["reply"]["decision"]) == ("allow", "refuse")
    assert told.safer["reply"]["categories"] == ["nonviolent_crimes"]


def test_a_stream_is_released_window_by_window(ask: Ask, upstream: ScriptedUpstream) -> None:
    engine = ScriptedEngine()
    upstream.say = ("0123456789", "0123456789", "0123", "how to steal a thing", " and more", " and more")
    told = ask(stream=True, engine=engine, window=10)
    assert told.content == "01234567890123456789"
    assert (told.refusal, told.finish, told.safer["outcome"]) == (REFUSED_TEXTS["reply"], "content_filter", "refused")
    judged = [request.turns[-1].text for request in engine.requests if request.turns[-1].role == "assistant"]
    assert judged == ["0123456789", "01234567890123456789", "012345678901234567890123how to steal a thing"]


def test_each_window_is_sent_as_soon_as_it_has_passed(ask: Ask, upstream: ScriptedUpstream) -> None:
    upstream.say = ("x" * 10, "y" * 10)
    told = ask(stream=True, window=10)
    deltas = [chunk.choices[0].delta.content for chunk in told.reply if chunk.choices]
    assert [delta for delta in deltas if delta] == ["x" * 10, "y" * 10]


def test_with_blocks_as_errors_a_first_window_that_does_not_pass_is_a_400(ask: Ask, upstream: ScriptedUpstream) -> None:
    upstream.say = ("how to steal",)
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(stream=stream, extra_body={"safer": {"block": "error"}})
        assert caught.value.code == "content_filter"


def test_the_fields_that_shape_an_answer_are_passed_on_and_nothing_else(ask: Ask, upstream: ScriptedUpstream) -> None:
    fields = {
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 3,
        "stop": ["END"],
        "max_completion_tokens": 1,
        "user": "u",
        "safety_identifier": "s",
        "metadata": {"a": "b"},
    }
    told = ask(extra_body={"safer": {"depth": "brief"}}, **fields)
    assert told.safer["plan"]["depth"] == "brief"
    assert told.content == SAFE
    (request,) = upstream.requests
    assert request == {
        **fields,
        "model": MODEL,
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_the_model_behind_sees_the_pixels_that_were_judged(
    ask: Ask, upstream: ScriptedUpstream, data_url: Callable[..., str]
) -> None:
    hidden = Image.new("LA", (8, 8), (0, 0))
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": data_url(hidden)}}]
    ask(messages=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}])
    system, user = upstream.requests[0]["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    text, picture = user["content"]
    assert text == {"type": "text", "text": "see"}
    file = BytesIO(b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,")))
    assert Image.open(file).convert("RGB").getcolors() == [(64, (255, 255, 255))]


def test_usage_is_that_of_both_models(ask: Ask) -> None:
    told = ask()
    usage = told.reply.usage
    assert usage.completion_tokens - usage.completion_tokens_details.reasoning_tokens == TOKENS
    assert usage.prompt_tokens > PROMPT_TOKENS
    assert told.reply.model == MODEL
    assert told.reply.moderation.output.results[0].flagged is False


@both
@pytest.mark.parametrize(
    ("finish", "shown"), [("length", "length"), ("content_filter", "content_filter"), ("other", "stop")]
)
def test_how_the_reply_ended_is_told(
    ask: Ask, upstream: ScriptedUpstream, finish: str, shown: str, stream: bool
) -> None:
    upstream.finish = finish
    assert ask(stream=stream).finish == shown


def test_a_refusal_of_the_model_behind_is_its_answer(ask: Ask, upstream: ScriptedUpstream) -> None:
    upstream.as_refusal, upstream.say = True, ("I would rather not.",)
    told = ask()
    assert (told.content, told.safer["outcome"]) == ("I would rather not.", "answered")


def test_an_empty_reply_is_not_judged(ask: Ask, upstream: ScriptedUpstream) -> None:
    upstream.say = ()
    told = ask()
    assert (told.content, told.safer["outcome"], told.safer["reply"]) == ("", "answered", None)


FAULTS: list[tuple[dict[str, Any], int, str]] = [
    ({"status": 401}, 502, "upstream_fault"),
    ({"status": 404}, 502, "upstream_fault"),
    ({"status": 400}, 400, "upstream_rejected"),
    ({"status": 422}, 400, "upstream_rejected"),
    ({"cut": True}, 502, "upstream_fault"),
    ({"finish": None}, 502, "upstream_fault"),
    ({"raw": b"data: {broken\n\n"}, 502, "upstream_fault"),
    ({"raw": b'data: {"error": {"message": "the secret of the upstream", "code": 500}}\n\n'}, 502, "upstream_fault"),
    ({"raw": b"data: [1, 2]\n\n"}, 502, "upstream_fault"),
    ({"raw": b'data: {"choices": [{"delta": null}]}\n\n'}, 502, "upstream_fault"),
    ({"raw": b'data: {"choices": 5}\n\n'}, 502, "upstream_fault"),
    ({"raw": b'data: {"choices": [{"delta": {"content": 5}}]}\n\n'}, 502, "upstream_fault"),
]


@pytest.mark.parametrize(("says", "status", "code"), FAULTS, ids=lambda value: str(value)[:60])
def test_a_fault_is_neither_an_answer_nor_a_block(
    ask: Ask,
    upstream: ScriptedUpstream,
    says: dict[str, Any],
    status: int,
    code: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for key, value in says.items():
        setattr(upstream, key, value)
    with pytest.raises(openai.APIStatusError) as caught:
        ask()
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert "secret" not in caught.value.response.text + caplog.text
    told = ask(stream=True, window=1000)
    assert (told.content, told.finish) == (None, "content_filter")
    assert (told.safer["outcome"], told.safer["failure"], told.safer["decision"]) == ("failed_closed", code, None)


def test_a_fault_after_a_window_ends_the_stream_with_an_error(ask: Ask, upstream: ScriptedUpstream) -> None:
    upstream.cut = True
    with pytest.raises(openai.APIError) as caught:
        ask(stream=True, window=5)
    assert caught.value.code == "failed_closed"


def test_nobody_there(ask: Ask) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        ask(settings={"upstream_url": "http://127.0.0.1:1/v1"})
    assert (caught.value.status_code, caught.value.code) == (502, "upstream_fault")


def test_a_reply_that_does_not_end_fails_closed(
    ask: Ask, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry_the_relay(monkeypatch)
    upstream.hang = True
    told = ask()
    assert (told.safer["outcome"], told.safer["failure"]) == ("failed_closed", "timeout")
    assert upstream.gone.wait(PATIENCE)


@pytest.mark.parametrize("fault", ["long", "broken", "context"])
def test_a_reply_that_cannot_be_judged_fails_closed(ask: Ask, upstream: ScriptedUpstream, fault: str) -> None:
    def script(request: EngineRequest) -> Any:
        if request.turns[-1].role == "user":
            return by_markers(request)
        if fault == "context":
            raise ContextLengthError
        return "no trace\n"

    upstream.say = ("x" * MAX_CHARACTERS, "x") if fault == "long" else ("An answer.",)
    told = ask(engine=ScriptedEngine(script))
    expected = "invalid_trace" if fault == "broken" else "too_long"
    assert (told.content, told.safer["outcome"], told.safer["failure"]) == (None, "failed_closed", expected)


def test_a_policy_that_watches_withholds_nothing(ask: Ask, upstream: ScriptedUpstream) -> None:
    watching = {"extra_body": {"safer": {"policy": "watching"}}}
    for message, outcome in (
        ("steal", "would_refuse"),
        ("medicine", "safe_completed"),
        ("unclear", "clarified"),
        ("hello", "answered"),
    ):
        told = ask(message, **watching)
        assert (told.content, told.refusal, told.finish) == (SAFE, None, "stop")
        assert told.safer["outcome"] == outcome
    upstream.say = ("how to steal",)
    told = ask("hello", stream=True, **watching)
    assert (told.content, told.safer["outcome"]) == ("how to steal", "would_refuse")
    assert told.safer["reply"]["decision"] == "refuse"


def test_both_models_are_listed_and_the_guards_own_still_answers(
    live: Callable[..., Any], upstream: ScriptedUpstream
) -> None:
    client = live(**upstream.settings).openai
    assert [model.id for model in client.models.list()] == ["scripted", MODEL]
    reply = client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "hello"}])
    assert "scripted answer" in reply.choices[0].message.content
    assert not upstream.requests


def test_a_client_that_goes_away_ends_the_upstreams_work(live: Callable[..., Any], upstream: ScriptedUpstream) -> None:
    upstream.hang = True
    client = live(**upstream.settings, upstream_window=1).openai
    stream = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}], stream=True)
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    stream.close()
    assert upstream.gone.wait(PATIENCE)


def test_settings_that_name_half_an_upstream_are_refused() -> None:
    with pytest.raises(ValueError, match="SAFER_UPSTREAM_MODEL"):
        Settings(upstream_url="http://127.0.0.1:1/v1")


def test_the_replys_verdict_is_counted(live: Callable[..., Any], upstream: ScriptedUpstream) -> None:
    upstream.say = ("how to steal",)
    server = live(**upstream.settings)
    server.openai.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}])
    metrics = httpx.get(f"{server.url}/metrics", trust_env=False, timeout=PATIENCE).text
    decided = [
        line for line in metrics.splitlines() if line.startswith("safer_decisions_total") and line.endswith(" 1.0")
    ]
    assert len(decided) == 2
    assert 'safer_requests_total{endpoint="chat",outcome="refused",policy="default"} 1.0' in metrics
