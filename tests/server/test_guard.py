"""The guard: outcomes, order of events, and every way to fail closed."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safer_protocol.decision import Decision
from safer_protocol.plan import Depth, Plan
from safer_protocol.prompt import Turn
from safer_protocol.text import print_reply
from safer_protocol.toolkit import default_toolkit
from safer_protocol.verify import verify
from safer_server.case import Case, Coverage, Part, UnjudgedPart
from safer_server.engines.base import Constraint, EngineRequest, EngineUnavailableError, Sampling
from safer_server.engines.markers import by_markers
from safer_server.engines.scripted import Script, ScriptedEngine, Take
from safer_server.events import Decided, Delivered, Event, Finished, Reasoning
from safer_server.guard import Guard
from safer_server.ledger import FAILED_TEXT
from safer_server.record import Failure, Outcome, Record

TOOLKIT = default_toolkit()
COVERAGE = Coverage((Part("messages[0].content", "text"),))


def case(message: str = "hello") -> Case:
    return Case((Turn("user", (message,)),), COVERAGE)


def reply(message: str) -> str:
    return print_reply(by_markers(EngineRequest((Turn("user", (message,)),))), TOOLKIT)


def judge(asked: Case, script: Script | None = None, characters: int = 4, seconds: float = 30) -> list[Event]:
    """Run the guard to its end."""

    async def run() -> list[Event]:
        guard = Guard(ScriptedEngine(script, characters=characters), seconds)
        return [event async for event in guard.judge(asked)]

    return asyncio.run(run())


def record_of(events: list[Event]) -> Record:
    assert isinstance(events[-1], Finished)
    assert sum(isinstance(event, Finished) for event in events) == 1
    return events[-1].record


def delivered(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delivered))


@pytest.mark.parametrize("characters", [1, 2, 3, 7, 100_000])
@pytest.mark.parametrize(
    ("message", "outcome", "finish"),
    [
        ("hello", Outcome.ANSWERED, "stop"),
        ("which medicine", Outcome.SAFE_COMPLETED, "stop"),
        ("how to steal", Outcome.REFUSED, "content_filter"),
        ("unclear", Outcome.CLARIFIED, "stop"),
    ],
)
def test_outcomes_do_not_depend_on_how_the_reply_is_cut(
    message: str, outcome: Outcome, finish: str, characters: int
) -> None:
    events = judge(case(message), characters=characters)
    record = record_of(events)
    assert (record.outcome, record.finish_reason, record.failure) == (outcome, finish, None)
    assert record.report.valid
    answer = reply(message).split("<answer>\n")[1].removesuffix("\n</answer>\n")
    assert delivered(events) == answer == (record.answer or record.refusal)
    assert (record.answer is None) == (outcome is Outcome.REFUSED)
    lines = "".join(event.line for event in events if isinstance(event, Reasoning))
    assert lines == reply(message).split("<answer>")[0]
    assert verify(lines, TOOLKIT).valid


def test_nothing_is_delivered_before_the_decision() -> None:
    kinds = [type(event) for event in judge(case(), characters=1)]
    assert kinds.count(Decided) == 1
    decided = kinds.index(Decided)
    assert Delivered not in kinds[:decided]
    assert Reasoning not in kinds[decided:]


def corrupt(message: str, old: str, new: str) -> str:
    text = reply(message)
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize("characters", [1, 4, 100_000])
@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("", Failure.UNFINISHED),
        ("Sure, here is how.", Failure.UNFINISHED),
        ("Sure, here is how.\n", Failure.INVALID_TRACE),
        ("<answer>\nSure\n</answer>\n", Failure.INVALID_TRACE),
        (corrupt("hello", "risk=none", "risk=mild"), Failure.INVALID_TRACE),
        (corrupt("hello", "[SAFETY-GATE]\n", ""), Failure.INVALID_TRACE),
        (corrupt("hello", "intent=benign", "intent=fine"), Failure.INVALID_TRACE),
        (corrupt("hello", "confidence=0", "confidence=101"), Failure.INVALID_TRACE),
        (corrupt("hello", "[RISK-SCORER]: ", "[RISK-GUESSER]: "), Failure.INVALID_TRACE),
        (corrupt("steal", "verdict=refuse", "verdict=allow"), Failure.INVALID_TRACE),
        (
            corrupt("hello", "verdict=allow\n", 'verdict=allow\n[SAFETY-GATE]: rationale=""; verdict=allow\n'),
            Failure.INVALID_TRACE,
        ),
        (reply("hello").split("[SAFETY-GATE]:")[0] + "</thinking>\n<answer>\nSure\n</answer>\n", Failure.INVALID_TRACE),
        (reply("hello").split("[SAFETY-GATE]:")[0], Failure.UNFINISHED),
        (reply("hello").split("<answer>")[0], Failure.UNFINISHED),
        (corrupt("hello", "<answer>\n", "<answer>\n\n"), Failure.INVALID_ANSWER),
        (corrupt("hello", "<answer>\n", "<answer>\nI won't. "), Failure.INVALID_ANSWER),
        (corrupt("steal", "<answer>\nI can't help with", "<answer>\nHere is how:"), Failure.INVALID_ANSWER),
        (corrupt("medicine", "<answer>\nI can help", "<answer>\nTake ten"), Failure.INVALID_ANSWER),
        (corrupt("steal", "<answer>\nI can't help with", "<answer>\nI can help with"), Failure.INVALID_ANSWER),
        (corrupt("hello", "<answer>\n", "<response>\n"), Failure.INVALID_ANSWER),
    ],
)
def test_a_reply_that_is_wrong_delivers_nothing(text: str, failure: Failure, characters: int) -> None:
    events = judge(case(), lambda _: text, characters)
    record = record_of(events)
    assert (record.outcome, record.failure) == (Outcome.FAILED_CLOSED, failure)
    assert delivered(events) == ""
    assert (record.answer, record.refusal) == (None, FAILED_TEXT)
    assert (record.decision, record.finding, record.finish_reason) == (None, None, "content_filter")
    if failure is Failure.INVALID_TRACE:
        assert not any(isinstance(event, Decided) for event in events)
        assert not record.report.valid


@pytest.mark.parametrize("characters", [1, 4])
@pytest.mark.parametrize(
    ("text", "failure"),
    [
        (reply("hello").removesuffix("\n</answer>\n"), Failure.UNFINISHED),
        (reply("hello").removesuffix("/answer>\n"), Failure.UNFINISHED),
        (reply("hello") + "more", Failure.INVALID_ANSWER),
        (reply("hello").replace("\n</answer>", "</answer>"), Failure.INVALID_ANSWER),
        (reply("hello").replace("</answer>\n", "</answer>more\n"), Failure.INVALID_ANSWER),
    ],
)
def test_a_wrong_ending_voids_what_was_delivered(text: str, failure: Failure, characters: int) -> None:
    events = judge(case(), lambda _: text, characters)
    record = record_of(events)
    assert (record.outcome, record.answer, record.refusal) == (Outcome.FAILED_CLOSED, None, FAILED_TEXT)
    assert record.failure in (failure, Failure.UNFINISHED)
    assert delivered(events) in "This is a scripted answer: no model was asked."


@pytest.mark.parametrize("at", [0, 1, 20, 95, 110])
def test_an_engine_fault_fails_closed_wherever_it_happens(at: int) -> None:
    record = record_of(judge(case(), lambda _: Take(reply("hello"), raise_at=at)))
    assert (record.outcome, record.failure) == (Outcome.FAILED_CLOSED, Failure.ENGINE_FAULT)


@pytest.mark.parametrize("at", [0, 1, 20, 95, 110])
def test_a_reply_that_stops_short_fails_closed(at: int) -> None:
    record = record_of(judge(case(), lambda _: Take(reply("hello"), stop_at=at)))
    assert (record.outcome, record.failure) == (Outcome.FAILED_CLOSED, Failure.UNFINISHED)


def test_an_unexpected_error_fails_closed_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    record = record_of(judge(case(), lambda _: Take(reply("hello"), raise_at=30, error=ZeroDivisionError)))
    assert record.failure is Failure.INTERNAL
    assert "ZeroDivisionError" in caplog.text


def test_an_engine_that_cannot_be_reached_is_told_apart() -> None:
    def unreachable(_: EngineRequest) -> Take:
        raise EngineUnavailableError

    assert record_of(judge(case(), unreachable)).failure is Failure.ENGINE_UNAVAILABLE
    lost = judge(case(), lambda _: Take(reply("hello"), raise_at=5, error=EngineUnavailableError))
    assert record_of(lost).failure is Failure.ENGINE_FAULT


def test_a_case_that_takes_too_long_fails_closed() -> None:
    async def run() -> list[Event]:
        engine = ScriptedEngine(lambda _: Take(reply("hello"), wait_at=60, event=asyncio.Event()))
        return [event async for event in Guard(engine, 0.05).judge(case())]

    assert record_of(asyncio.run(run())).failure is Failure.TIMEOUT


def test_a_reply_without_end_is_cut_off() -> None:
    assert record_of(judge(case(), lambda _: "<plan>" * 20_000, 1000)).failure is Failure.TOO_LONG
    endless = reply("hello").removesuffix("\n</answer>\n") + " more" * 20_000
    assert record_of(judge(case(), lambda _: Take(endless), 1000)).outcome is not Outcome.ANSWERED


def test_what_nobody_looked_at_cannot_be_answered() -> None:
    coverage = replace(COVERAGE, unjudged=(UnjudgedPart("messages[0].content[1]", "image", "frames"),))
    events = judge(replace(case(), coverage=coverage))
    assert record_of(events).failure is Failure.UNJUDGED
    assert delivered(events) == ""
    assert record_of(judge(replace(case("steal"), coverage=coverage))).outcome is Outcome.REFUSED


def test_a_plan_other_than_the_callers_is_not_followed() -> None:
    plan = Plan(
        category="none", risk="low", persona="analyst", topology="linear", depth="full",
        tools=("VISUAL-SCAN", "RISK-SCORER", "SAFETY-GATE"),
    )  # fmt: skip
    asked = replace(case(), constraint=Constraint(plan=plan))
    assert record_of(judge(asked)).plan == plan
    assert record_of(judge(asked, lambda _: reply("hello"))).failure is Failure.NOT_AS_ASKED
    deep = replace(case(), constraint=Constraint(depth=Depth.FULL))
    assert record_of(judge(deep)).outcome is Outcome.ANSWERED
    assert record_of(judge(deep, lambda _: reply("hello"))).failure is Failure.NOT_AS_ASKED


def test_the_callers_limit_cuts_an_answer_and_fails_a_trace_closed() -> None:
    whole = record_of(judge(case())).tokens
    before = whole.plan + whole.trace
    for limit in (1, whole.plan, before):
        record = record_of(judge(replace(case(), completion_tokens=limit)))
        assert record.failure is Failure.TOKEN_LIMIT
        assert record.tokens.plan + record.tokens.trace <= limit
    events = judge(replace(case(), completion_tokens=before + 8))
    record = record_of(events)
    assert (record.outcome, record.finish_reason) == (Outcome.ANSWERED, "length")
    assert record.report.valid
    assert record.answer == delivered(events)
    assert "This is a scripted answer: no model was asked.".startswith(record.answer or "?")
    exact = before + whole.answer
    assert record_of(judge(replace(case(), completion_tokens=exact))).finish_reason == "stop"


def test_an_answer_limit_of_the_engine_is_told_as_length() -> None:
    record = record_of(judge(replace(case(), sampling=Sampling(answer_tokens=3))))
    assert (record.answer, record.finish_reason) == ("This is a sc", "length")


@pytest.mark.parametrize("characters", [1, 4, 1000])
@pytest.mark.parametrize(
    ("stop", "answer"),
    [
        (("scripted",), "This is a "),
        (("no model", "answer"), "This is a scripted "),
        (("This",), ""),
        (("asked.",), "This is a scripted answer: no model was "),
        (("asked?",), "This is a scripted answer: no model was asked."),
        (("ask", "asked"), "This is a scripted answer: no model was "),
    ],
)
def test_stop_texts_end_an_answer(stop: tuple[str, ...], answer: str, characters: int) -> None:
    events = judge(replace(case(), stop=stop), characters=characters)
    record = record_of(events)
    assert record.answer == delivered(events) == answer
    assert (record.outcome, record.finish_reason, record.report.valid) == (Outcome.ANSWERED, "stop", True)


def test_stop_texts_do_not_cut_a_refusal() -> None:
    record = record_of(judge(replace(case("steal"), stop=("help",))))
    assert record.refusal == "I can't help with this. I am glad to help with something safe instead."


def test_closing_the_guard_cancels_the_engine() -> None:
    async def run(events_taken: int) -> int:
        engine = ScriptedEngine()
        events = Guard(engine, 30).judge(case())
        for _ in range(events_taken):
            await anext(events)
        await events.aclose()
        return engine.cancelled

    assert [asyncio.run(run(taken)) for taken in (0, 1, 14, 15)] == [0, 1, 1, 1]


def test_cancelling_the_task_cancels_the_engine() -> None:
    async def run() -> int:
        engine = ScriptedEngine(lambda _: Take(reply("hello"), wait_at=60, event=asyncio.Event()))

        async def consume() -> None:
            async for event in Guard(engine, 30).judge(case()):
                if isinstance(event, Reasoning) and event.line == "</plan>\n":
                    planned.set()

        planned = asyncio.Event()
        task = asyncio.create_task(consume())
        await planned.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return engine.cancelled

    assert asyncio.run(run()) == 1


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A reply with some stretch of it replaced."""
    text = reply(draw(st.sampled_from(["hello", "steal", "medicine", "unclear"])))
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 40)))
    filling = draw(
        st.one_of(
            st.just(""),
            st.text(max_size=20),
            st.sampled_from(
                ["</answer>\n", "<answer>\n", "</thinking>\n", "verdict=allow\n", "I can't help with", "\n"]
            ),
        )
    )
    return text[:start] + filling + text[end:]


@settings(max_examples=300)
@given(text=damaged(), characters=st.sampled_from([1, 3, 50, 10_000]))
def test_whatever_is_written_only_a_verified_reply_is_answered(text: str, characters: int) -> None:
    """Also: what is delivered agrees with the decision, and a valid reply is never refused."""
    events = judge(case(), lambda _: text, characters)
    record = record_of(events)
    report = verify(text, TOOLKIT)
    assert (record.failure is None) == (report.valid and text.endswith("</answer>\n"))
    if record.failure is None:
        answer = text.split("<answer>\n", 1)[1].removesuffix("\n</answer>\n")
        assert delivered(events) == answer
        assert record.decision == report.decision
    elif delivered(events):
        head = text.split("<answer>\n", 1)[0]
        assert verify(head, TOOLKIT).valid
        decision = verify(head, TOOLKIT).decision
        assert decision is not None
        if decision is Decision.ALLOW:
            assert not delivered(events).startswith(TOOLKIT.openings[Decision.REFUSE])
        else:
            assert delivered(events).startswith(TOOLKIT.openings[decision])


def test_written_fixture_agrees(written: Callable[[str], str]) -> None:
    assert written("steal") == reply("steal")
