"""Chat completions with the official client, whole."""

from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion
from PIL import Image
from starlette.testclient import TestClient

from safer_protocol.prompt import ImagePart
from safer_protocol.toolkit import default_toolkit
from safer_protocol.verify import verify
from safer_server.engines.base import EngineRequest, EngineUnavailableError
from safer_server.engines.scripted import ScriptedEngine, Take, table

TOOLKIT = default_toolkit()
Start = Callable[..., TestClient]


@pytest.fixture
def ask(live: Callable[..., Any]) -> Callable[..., ChatCompletion]:
    """Ask with the official client: `ask(message, engine=..., **fields)`."""

    def send(message: Any, engine: ScriptedEngine | None = None, **fields: Any) -> ChatCompletion:
        messages = fields.pop("messages", [{"role": "user", "content": message}])
        completion: ChatCompletion = live(engine).openai.chat.completions.create(
            model="scripted", messages=messages, **fields
        )
        return completion

    return send


def safer(completion: ChatCompletion) -> dict[str, Any]:
    assert completion.model_extra is not None
    found: dict[str, Any] = completion.model_extra["safer"]
    return found


@pytest.mark.parametrize(
    ("message", "outcome", "decision", "finish"),
    [
        ("hello", "answered", "allow", "stop"),
        ("a medicine?", "safe_completed", "safe_complete", "stop"),
        ("steal it", "refused", "refuse", "content_filter"),
        ("unclear", "clarified", "clarify", "stop"),
    ],
)
def test_every_outcome(
    ask: Callable[..., ChatCompletion], message: str, outcome: str, decision: str, finish: str
) -> None:
    completion = ask(message)
    (choice,) = completion.choices
    told = safer(completion)
    assert (told["outcome"], told["decision"], choice.finish_reason) == (outcome, decision, finish)
    assert told["verification"] == {"valid": True, "violations": []}
    refused = outcome == "refused"
    assert (choice.message.content is None, choice.message.refusal is None) == (refused, not refused)
    text = choice.message.content or choice.message.refusal or ""
    reasoning = (choice.message.model_extra or {})["reasoning"]
    assert reasoning == (choice.message.model_extra or {})["reasoning_content"]
    whole = f"{reasoning}<answer>\n{text}\n</answer>\n"
    assert verify(whole, TOOLKIT).valid
    assert told["plan"]["tools"] == [step["tool"] for step in told["trace"]]
    assert told["protocol_hash"] == TOOLKIT.hash
    assert told["coverage"] == {"judged": [{"part": "messages[0].content", "type": "text"}], "unjudged": []}
    assert told["policy"] == "default"
    assert set(told["timings_ms"]) == {"queue", "plan", "trace", "decision", "answer", "total"}


def test_usage_counts_plan_and_trace_as_reasoning(ask: Callable[..., ChatCompletion]) -> None:
    usage = ask("hello").usage
    assert usage is not None
    assert usage.completion_tokens_details is not None
    reasoning = usage.completion_tokens_details.reasoning_tokens
    assert reasoning is not None
    assert 0 < reasoning < usage.completion_tokens
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_the_moderation_object_is_the_one_of_the_client(ask: Callable[..., ChatCompletion]) -> None:
    refused = ask("steal it").moderation
    assert refused is not None
    assert refused.input.type == "moderation_results"
    (result,) = refused.input.results
    assert result.flagged
    assert [name for name, flagged in result.categories.items() if flagged] == ["illicit"]
    assert result.category_scores["illicit"] == 0.75
    assert result.category_applied_input_types["illicit"] == ["text"]
    assert len(result.categories) == 13
    allowed = ask("hello").moderation
    assert allowed is not None
    assert allowed.input.type == "moderation_results"
    assert not allowed.input.results[0].flagged
    assert not any(allowed.input.results[0].categories.values())


def test_pictures_and_turns_reach_the_engine_in_order(
    ask: Callable[..., ChatCompletion], data_url: Callable[..., str]
) -> None:
    engine = ScriptedEngine()
    picture = {"type": "image_url", "image_url": {"url": data_url()}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture]},
        {"role": "assistant", "content": None, "refusal": "I can't help with this."},
        {"role": "user", "content": "And now?"},
    ]  # fmt: skip
    completion = ask(None, engine, messages=messages)
    turns = engine.requests[-1].turns
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "user"]
    assert turns[1].parts[0] == "What is this?"
    assert isinstance(turns[1].parts[1], ImagePart)
    assert turns[1].parts[1].image.mode == "RGB"
    assert turns[2].parts == ("I can't help with this.",)
    assert [part["part"] for part in safer(completion)["coverage"]["judged"]] == [
        "messages[0].content", "messages[1].content[0]", "messages[1].content[1]", "messages[2].refusal", "messages[3].content",
    ]  # fmt: skip


def test_a_reply_can_be_sent_back_as_it_is(live: Callable[..., Any]) -> None:
    server = live()
    first: dict[str, Any] = {"role": "user", "content": "steal"}
    for question in ("steal", "hello"):
        first = {"role": "user", "content": question}
        reply = server.openai.chat.completions.create(model="scripted", messages=[first]).choices[0].message
        again = server.openai.chat.completions.create(
            model="scripted", messages=[first, reply, {"role": "user", "content": "hello"}]
        )
        assert safer(again)["outcome"] == "answered"
        assert server.engine.requests[-1].turns[1].parts == (reply.content or reply.refusal,)


def test_an_earlier_reply_may_be_empty(ask: Callable[..., ChatCompletion]) -> None:
    """Clients that keep no refusals send an earlier one so."""
    engine = ScriptedEngine()
    user, empty = {"role": "user", "content": "hello"}, {"role": "assistant", "content": ""}
    completion = ask(None, engine, messages=[user, empty, user])
    assert safer(completion)["outcome"] == "answered"
    assert [(turn.role, turn.text) for turn in engine.requests[-1].turns] == [
        ("user", "hello"), ("assistant", ""), ("user", "hello"),
    ]  # fmt: skip


def test_sampling_and_limits_reach_the_engine(ask: Callable[..., ChatCompletion]) -> None:
    engine = ScriptedEngine()
    ask("hello", engine, temperature=0.5, top_p=0.9, seed=7, max_tokens=5)
    sampling = engine.requests[-1].sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed, sampling.answer_tokens) == (0.5, 0.9, 7, 5)
    engine = ScriptedEngine()
    ask("hello", engine)
    sampling = engine.requests[-1].sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed, sampling.answer_tokens) == (0.0, 1.0, None, 512)


def test_limits_of_the_caller(ask: Callable[..., ChatCompletion]) -> None:
    short = ask("hello", max_tokens=2).choices[0]
    assert (short.message.content, short.finish_reason) == ("This is ", "length")
    closed = ask("hello", max_completion_tokens=20)
    assert safer(closed)["outcome"] == "failed_closed"
    assert safer(closed)["failure"] == "token_limit"
    stopped = ask("hello", stop="scripted").choices[0]
    assert (stopped.message.content, stopped.finish_reason) == ("This is a ", "stop")


def test_failing_closed_is_a_refusal(ask: Callable[..., ChatCompletion], written: Callable[[str], str]) -> None:
    engine = ScriptedEngine(lambda _: written("steal").replace("verdict=refuse", "verdict=allow"))
    completion = ask("steal", engine)
    choice, told = completion.choices[0], safer(completion)
    assert (choice.message.content, choice.finish_reason) == (None, "content_filter")
    assert choice.message.refusal is not None
    assert (told["outcome"], told["failure"], told["decision"]) == ("failed_closed", "invalid_trace", None)
    assert told["verification"]["valid"] is False
    codes = {violation["code"] for violation in told["verification"]["violations"]}
    assert "decision_against_risk" in codes
    assert set(told["verification"]["violations"][0]) == {"code", "step", "field", "message"}
    moderation = completion.moderation
    assert moderation is not None
    assert moderation.input.type == "error"


def test_what_is_shown_of_the_trace(ask: Callable[..., ChatCompletion]) -> None:
    full = ask("steal")
    redacted = ask("steal", extra_body={"safer": {"trace": "redacted"}})
    hidden = ask("steal", extra_body={"safer": {"trace": "none"}})
    assert "scripted" in str(safer(full)["trace"])
    assert "scripted" not in str(safer(redacted)["trace"])
    reasoning = (redacted.choices[0].message.model_extra or {})["reasoning"]
    assert "scripted" not in reasoning
    assert verify(reasoning, TOOLKIT).valid
    assert safer(redacted)["trace"][1]["fields"]["intent"] == "harmful"
    assert (safer(hidden)["plan"], safer(hidden)["trace"]) == (None, [])
    assert (hidden.choices[0].message.model_extra or {})["reasoning"] is None
    assert safer(hidden)["decision"] == "refuse"


def test_depth_and_plan_are_followed(ask: Callable[..., ChatCompletion]) -> None:
    assert safer(ask("hello", extra_body={"safer": {"depth": "brief"}}))["plan"]["depth"] == "brief"
    plan = {
        "category": "none", "risk": "low", "persona": "educator", "topology": "loop", "depth": "full",
        "tools": ["VISUAL-SCAN", "OCR-EXTRACT", "INTENT-RADAR", "REDIRECT-ENGINE", "SAFETY-GATE"],
    }  # fmt: skip
    assert safer(ask("hello", extra_body={"safer": {"plan": plan}}))["plan"] == plan


def test_blocks_and_faults_as_errors(
    live: Callable[..., Any], written: Callable[[str], str], chat_body: Callable[..., dict[str, Any]]
) -> None:
    engine = ScriptedEngine(table({"broken": Take(written("hello"), raise_at=90)}))
    client = live(engine).openai
    error_mode = {"safer": {"block": "error"}}
    for stream in (False, True):
        create = client.chat.completions.with_raw_response.create
        with pytest.raises(openai.BadRequestError) as refused:
            create(**chat_body("steal"), stream=stream, extra_body=error_mode)
        assert refused.value.code == "content_filter"
    with pytest.raises(openai.InternalServerError) as failed:
        client.chat.completions.create(**chat_body("broken"), extra_body=error_mode)
    assert (failed.value.status_code, failed.value.code) == (503, "failed_closed")
    answered = client.chat.completions.create(**chat_body("hello"), extra_body=error_mode)
    assert safer(answered)["outcome"] == "answered"
    chunks = list(client.chat.completions.create(**chat_body("hello"), stream=True, extra_body=error_mode))
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_out_of_reach_is_a_503(
    live: Callable[..., Any], chat_body: Callable[..., dict[str, Any]], stream: bool
) -> None:
    def unreachable(_: EngineRequest) -> Take:
        raise EngineUnavailableError

    client = live(ScriptedEngine(unreachable)).openai
    with pytest.raises(openai.InternalServerError) as error:
        client.chat.completions.create(**chat_body(), stream=stream)
    assert (error.value.status_code, error.value.code) == (503, "guard_unavailable")


def test_an_animated_picture_is_not_answered(ask: Callable[..., ChatCompletion], data_url: Callable[..., str]) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    url = data_url(frames[0], "GIF", save_all=True, append_images=frames[1:])
    part = {"type": "image_url", "image_url": {"url": url}}
    told = safer(ask([{"type": "text", "text": "hello"}, part]))
    assert (told["outcome"], told["failure"]) == ("failed_closed", "unjudged")
    assert told["coverage"]["unjudged"] == [
        {"part": "messages[0].content[1]", "type": "image", "reason": "only the first frame was looked at"}
    ]


@pytest.mark.anyio
async def test_the_async_client(live: Callable[..., Any], chat_body: Callable[..., dict[str, Any]]) -> None:
    async with openai.AsyncOpenAI(base_url=f"{live().url}/v1", api_key="none") as client:
        completion = await client.chat.completions.create(**chat_body("steal"))
        assert safer(completion)["outcome"] == "refused"
        words = [
            chunk.choices[0].delta.refusal or ""
            async for chunk in await client.chat.completions.create(**chat_body("steal"), stream=True)
        ]
        assert "".join(words) == completion.choices[0].message.refusal
