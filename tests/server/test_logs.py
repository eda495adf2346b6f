"""Log lines: whose request they belong to, in both formats, and nothing of what was said, whatever goes wrong."""

import asyncio
import json
import logging
import logging.config
import re
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import httpx
import pytest

from api_keys import bearer, entry, keys
from safer_server.engines.scripted import ScriptedEngine, Take, table
from safer_server.intake import Intake
from safer_server.logs import REQUEST, log_config
from safer_server.settings import Settings
from waiting import PATIENCE, wait_for

CANARY = "canary-7f3a"
ANSWER = "This is a scripted answer: no model was asked."
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"

Lines = Callable[..., list[str]]


class CanaryError(Exception):
    """An error whose message repeats what a caller wrote."""

    def __init__(self, *_: object) -> None:
        super().__init__(CANARY)


@pytest.fixture
def lines(request: pytest.FixtureRequest) -> Iterator[Lines]:
    """Log as the server does, in the format that is the fixture's parameter; `lines(wanted)` reads as many new ones at least."""
    config = log_config(Settings(log_format=request.param, log_level="debug"))
    loggers = [logging.getLogger(name) for name in (None, *config["loggers"])]
    before = [(each.handlers[:], each.level, each.propagate) for each in loggers]
    logging.config.dictConfig(config)
    written = StringIO()
    for handler in {handler for each in loggers for handler in each.handlers}:
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(written)

    def take(wanted: int = 0) -> list[str]:
        wait_for(lambda: len(written.getvalue().splitlines()) >= wanted)
        told = written.getvalue().splitlines()
        written.seek(0)
        written.truncate()
        return told

    yield take
    for each, (handlers, level, propagate) in zip(loggers, before, strict=True):
        each.handlers[:], each.propagate = handlers, propagate
        each.setLevel(level)


as_json = pytest.mark.parametrize("lines", ["json"], indirect=True)
as_both = pytest.mark.parametrize("lines", ["json", "human"], indirect=True)


@pytest.fixture
def engine(written: Callable[[str], str]) -> ScriptedEngine:
    """Write the canary into answers and traces; fail in several ways."""
    good = written("hello").replace(ANSWER, CANARY)
    steps = written("steal")
    assert '"scripted"' in steps
    return ScriptedEngine(
        table(
            {
                f"good {CANARY}": good,
                f"refused {CANARY}": steps.replace('"scripted"', f'"{CANARY}"'),
                f"broken {CANARY}": f"{CANARY}\n",
                f"invalid {CANARY}": steps.replace("verdict=refuse", "verdict=allow"),
                f"faulty {CANARY}": Take(good, raise_at=40),
                f"crashing {CANARY}": Take(good, raise_at=40, error=CanaryError),
            }
        )
    )


@as_both
@pytest.mark.parametrize("stream", [False, True])
def test_nothing_that_was_said_is_in_any_line(
    lines: Lines,
    engine: ScriptedEngine,
    live: Callable[..., Any],
    chat_body: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    stream: bool,
) -> None:
    server = live(engine, keys=keys(entry("alice")))
    with httpx.Client(base_url=server.url, trust_env=False, headers=bearer("alice"), timeout=PATIENCE) as client:

        def send(body: Any, path: str = "/v1/chat/completions", **options: Any) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            client.post(path, content=content, headers={"content-type": "application/json"}, **options)

        for kind in ("good", "refused", "broken", "invalid", "faulty", "crashing"):
            send(chat_body(f"{kind} {CANARY}", stream=stream))
            send({"messages": [{"role": "user", "content": f"{kind} {CANARY}"}]}, "/v1/checks")
            send({"input": [f"{kind} {CANARY}", "hello"]}, "/v1/moderations")
        for wrong in ({CANARY: 1}, {"model": CANARY, "messages": []}, chat_body(CANARY, temperature=CANARY)):
            send(wrong)
        send(f'{{"model": "{CANARY}"'.encode())
        send(f'{{"text": "{CANARY}"}}'.encode(), "/v1/traces/verify")
        client.get("/v1/models", params={CANARY: CANARY})
        client.get("/v1/models", headers={"authorization": f"Bearer {CANARY}", "x-request-id": f"<{CANARY}>"})
        with monkeypatch.context() as patch:
            patch.setattr(Intake, "chat", CanaryError)  # before the response has begun
            send(chat_body("good"))
            patch.undo()
            patch.setattr("safer_server.stream.show_line", CanaryError)  # after
            with pytest.raises(httpx.RemoteProtocolError):
                send(chat_body("good", stream=True))
    told = lines()
    text = "\n".join(told)
    assert text.count("failed closed on an unexpected error") == 3
    assert text.count("a request failed") == 2
    assert "test_logs.CanaryError" in text
    assert "guard.py" in text
    assert CANARY not in text


@as_json
def test_every_line_of_a_request_is_an_object_with_its_id_and_caller(
    lines: Lines, engine: ScriptedEngine, live: Callable[..., Any], chat_body: Callable[..., dict[str, Any]]
) -> None:
    server = live(engine, keys=keys(entry("alice")))
    with httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE) as client:
        lines()
        headers = {**bearer("alice"), "x-request-id": "mine"}
        written: list[str] = []
        for stream in (False, True):
            body = chat_body(f"crashing {CANARY}", stream=stream)
            client.post("/v1/chat/completions", params={"q": "x"}, json=body, headers=headers)
            written += lines(2)  # a line of the access log may come after the reply
        client.get("/caf%C3%A9%0A", headers={"x-request-id": "other"})
        written += lines(1)
    told = [json.loads(line) for line in written]
    assert [line["logger"] for line in told] == [
        *["safer_server.guard", "safer_server.access"] * 2,
        "safer_server.access",
    ]
    assert {line["request_id"] for line in told[:4]} == {"mine"}
    assert {line["caller"] for line in told[:4]} == {"alice"}
    assert all(re.fullmatch(TIME, line["time"]) for line in told)
    assert [line["level"] for line in told[:2]] == ["error", "info"]
    assert "Traceback" in told[0]["traceback"]
    for line in (told[1], told[3]):
        access = {name: line[name] for name in ("client", "method", "path", "status")}
        assert access == {"client": "127.0.0.1", "method": "POST", "path": "/v1/chat/completions", "status": 200}
        assert 0 < line["duration_ms"] < 10_000
    assert (told[4]["request_id"], told[4]["path"], told[4]["status"]) == ("other", "/caf%C3%A9%0A", 404)
    assert "caller" not in told[4]


@pytest.mark.parametrize("lines", ["human"], indirect=True)
def test_a_line_for_people_ends_with_its_request(lines: Lines, live: Callable[..., Any]) -> None:
    with httpx.Client(base_url=live().url, trust_env=False, timeout=PATIENCE) as client:
        lines()
        client.get("/healthz?secret", headers={"x-request-id": "mine"})
    (line,) = lines(1)
    pattern = TIME + r" INFO     safer_server.access: 127.0.0.1 GET /healthz 200 in [\d.]+ ms \[request_id=mine\]"
    assert re.fullmatch(pattern, line)


@as_json
def test_a_traceback_names_all_errors_and_ends_though_they_go_round_in_circles(lines: Lines) -> None:
    token = REQUEST.set({"request_id": "mine"})
    try:
        try:
            raise ExceptionGroup(CANARY, [ValueError(CANARY), CanaryError()]) from KeyError(CANARY)
        except ExceptionGroup as error:
            error.exceptions[0].__cause__ = error
            logging.getLogger("safer_server").exception("it failed")
    finally:
        REQUEST.reset(token)
    (line,) = lines()
    assert CANARY not in line
    assert re.findall(r"[a-z_]+\.\w+(?:Error|Group)", json.loads(line)["traceback"]) == [
        "builtins.KeyError",
        "builtins.ExceptionGroup",
        "builtins.ValueError",
        "test_logs.CanaryError",
    ]


@as_both
def test_outside_of_requests_an_error_tells_its_message(lines: Lines) -> None:
    try:
        raise RuntimeError("the weights are broken")
    except RuntimeError:
        logging.getLogger("safer_server.asgi").exception("the worker cannot start")
    assert "RuntimeError: the weights are broken" in "\n".join(lines())


@as_both
def test_a_task_that_nobody_asked_after_does_not_tell_what_it_failed_on(lines: Lines) -> None:
    async def fail() -> None:
        raise CanaryError

    async def forget() -> None:
        task = asyncio.ensure_future(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task

    asyncio.run(forget())
    text = "\n".join(lines())
    assert "Task exception was never retrieved" in text
    assert CANARY not in text


@as_both
@pytest.mark.parametrize("name", ["openai._base_client", "httpx", "any.other"])
def test_what_other_packages_say_for_debugging_is_not_written(lines: Lines, name: str) -> None:
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)  # as OPENAI_LOG=debug does
    logger.info("the body of a request")
    logger.warning("something is wrong")
    logger.setLevel(logging.NOTSET)
    (line,) = lines()
    assert "something is wrong" in line
