"""The audit log over HTTP: who may read it, filters, pages that hold still, and bad questions."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api_keys import bearer, entry, keys
from audited import MESSAGES, ask, entries, recording
from safer_server.audit.entry import Entry
from safer_server.audit.store import Cursor
from safer_server.engines.scripted import ScriptedEngine, table

ID = "tr_" + "0" * 32
TIME = "2026-01-01T00:00:00.000Z"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server that has recorded ten cases: those of alice's, then bob's, who checks."""
    folder = tmp_path_factory.mktemp("log")
    everybody = keys(entry("alice"), entry("bob"), entry("auditor", "audit"))
    with recording(folder, ScriptedEngine(table({"broken": "?"})), keys=everybody) as client:
        for message in (*MESSAGES, "broken"):
            client.headers.update(bearer("alice"))
            ask(client, message)
        client.headers.update(bearer("bob"))
        for message in MESSAGES:
            client.post("/v1/checks", json={"messages": [{"role": "user", "content": message}]})
    with recording(folder, keys=everybody) as client:
        client.headers.update(bearer("auditor"))
        yield client


def listed(client: TestClient, **query: Any) -> dict[str, Any]:
    response = client.get("/v1/traces", params=query)
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({}, 11),
        ({"decision": "refuse"}, 4),
        ({"decision": "allow", "endpoint": "chat"}, 1),
        ({"outcome": "failed_closed"}, 1),
        ({"outcome": "safe_completed"}, 2),
        ({"category": "nonviolent_crimes"}, 2),
        ({"category": "nothing_like_it"}, 0),
        ({"tool": "SAFETY-GATE"}, 10),
        ({"tool": "SAFETY"}, 0),
        ({"tool": "SAFETY_GATE"}, 0),
        ({"endpoint": "checks"}, 5),
        ({"caller": "alice"}, 6),
        ({"caller": "ALICE"}, 0),
        ({"policy": "default"}, 11),
        ({"since": TIME}, 11),
        ({"until": TIME}, 0),
        ({"since": "2126-01-01T00:00:00+01:00"}, 0),
        ({"since": (datetime.now(UTC) - timedelta(hours=1)).isoformat(), "caller": "bob", "decision": "clarify"}, 1),
    ],
)
def test_filters(log: TestClient, query: dict[str, str], count: int) -> None:
    told = listed(log, limit=100, **query)
    assert (len(told["data"]), told["has_more"], told["next_cursor"]) == (count, False, None)


def test_since_is_inclusive_and_until_is_not(log: TestClient) -> None:
    times = sorted(record["time"] for record in listed(log)["data"])
    assert len(listed(log, since=times[3])["data"]) == sum(time >= times[3] for time in times)
    assert len(listed(log, until=times[3])["data"]) == sum(time < times[3] for time in times)


@pytest.mark.parametrize("limit", [1, 3, 10, 11])
def test_pages_hold_every_record_once_newest_first(log: TestClient, limit: int) -> None:
    found: list[dict[str, Any]] = []
    told = listed(log, limit=limit)
    while True:
        found += told["data"]
        assert told["has_more"] == (told["next_cursor"] is not None)
        if not told["has_more"]:
            break
        assert len(told["data"]) == limit
        told = listed(log, limit=limit, cursor=told["next_cursor"])
    places = [(record["time"], record["trace_id"]) for record in found]
    assert places == sorted(places, reverse=True)
    assert len(set(places)) == 11


def test_pages_hold_still_while_records_come(tmp_path: Path) -> None:
    with recording(tmp_path) as client:
        for message in MESSAGES:
            ask(client, message)
    with recording(tmp_path) as client:
        told = listed(client, limit=2)
        before = {record["trace_id"] for record in listed(client)["data"]}
    with recording(tmp_path) as client:
        for message in MESSAGES:
            ask(client, message)
    with recording(tmp_path) as client:
        found = [record["trace_id"] for record in told["data"]]
        while told["has_more"]:
            told = listed(client, limit=2, cursor=told["next_cursor"])
            found += [record["trace_id"] for record in told["data"]]
        assert len(listed(client)["data"]) == 10
    assert (len(found), set(found)) == (5, before)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=", "cursor"),
        ("cursor=abc", "cursor"),
        ("cursor=%FF%00", "cursor"),
        (f"cursor={Cursor(TIME, 'tr_x')}", "cursor"),
        (f"cursor={Cursor('yesterday', ID)}", "cursor"),
        (f"cursor={Cursor(TIME, ID)}=", "cursor"),
        (f"cursor={Cursor(TIME, ID + ' ')}", "cursor"),
        ("decision=ALLOW", "decision"),
        ("outcome=blocked", "outcome"),
        ("endpoint=/v1/checks", "endpoint"),
        ("category=%00", "category"),
        ("category='%20OR%201=1", "category"),
        ("tool=%25", "tool"),
        ("caller=" + "a" * 129, "caller"),
        ("since=yesterday", "since"),
        ("since=2026-01-01", "since"),
        ("since=0.5", "since"),
        ("since=1767225600", "since"),
        ("since=2026-13-01T00:00:00Z", "since"),
        ("since=2026-01-01T00:00:00", "since"),
        ("until=0001-01-01T00:00:00%2B23:00", "until"),
        ("until=9999-12-31T23:59:59-23:00", "until"),
        ("until=99999999999999999999", "until"),
        ("before=x", "before"),
        ("trace_id=x", "trace_id"),
    ],
)
def test_bad_questions_name_the_field(log: TestClient, query: str, param: str) -> None:
    response = log.get(f"/v1/traces?{query}")
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, param)
    value = query.partition("=")[2]
    assert len(value) < 4 or value not in error["message"]


def test_a_record_comes_with_its_receipt_to_the_byte(tmp_path: Path) -> None:
    with recording(tmp_path) as client:
        receipt = ask(client).json()["safer"]["receipt"]
    with recording(tmp_path) as client:
        response = client.get(f"/v1/traces/{receipt['trace_id']}")
        assert response.json()["receipt"] == receipt
    assert Entry.of_line(response.content.rstrip(b"\n")) in entries(tmp_path)


@pytest.mark.parametrize("name", [ID, "verify", "tr_", "%00", "..%2f..", "tr_" + "0" * 33, "%F0%9F%99%82"])
def test_records_that_are_not_there(log: TestClient, name: str) -> None:
    response = log.get(f"/v1/traces/{name}")
    assert response.status_code == 404
    assert response.json()["error"]["code"] in ("trace_not_found", "not_found")


@pytest.mark.parametrize("path", ["/v1/traces", f"/v1/traces/{ID}"])
@pytest.mark.parametrize(("name", "status"), [("alice", 403), ("nobody", 401), ("auditor", None)])
def test_the_log_needs_the_audit_scope(log: TestClient, path: str, name: str, status: int | None) -> None:
    response = log.get(path, headers=bearer(name))
    assert response.status_code == (status or (200 if path == "/v1/traces" else 404))


def test_the_audit_scope_opens_nothing_else(log: TestClient) -> None:
    assert ask(log).status_code == 403
    assert log.get("/metrics").status_code == 403


def test_the_public_keys_are_public(in_process: Callable[..., TestClient]) -> None:
    client = in_process(keys=keys(entry("alice")))
    response = client.get("/.well-known/safer-receipt-keys.json")
    (key,) = response.json()["keys"]
    assert (response.status_code, key["kty"], key["crv"], key["use"]) == (200, "OKP", "Ed25519", "sig")
    assert set(key) == {"kty", "crv", "x", "kid", "use", "alg"}
