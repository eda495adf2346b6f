"""Requests that are broken in every way that one thinks of: valid bodies, and a fixed sequence of what can happen to them."""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

CANARY = "Xyzzy \u2603 canary"
"""Stands wherever a caller may write, and must not come back; as a key it is no plain name."""
MARK = b"Xyzzy"

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
_PARTS = [{"type": "text", "text": CANARY}, {"type": "image_url", "image_url": {"url": PIXEL}}]
_TALK = [{"role": "system", "content": CANARY}, {"role": "user", "content": _PARTS}]
_PLAN = {
    "category": "none", "risk": "low", "persona": "assistant", "topology": "linear", "depth": "standard",
    "tools": ["VISUAL-SCAN", "RISK-SCORER", "SAFETY-GATE"],
}  # fmt: skip
_CALL = {"tool": "SAFETY-GATE", "fields": {"rationale": CANARY, "verdict": "allow"}}

BODIES: Sequence[tuple[str, dict[str, Any]]] = (
    (
        "/v1/chat/completions",
        {
            "model": "scripted", "messages": _TALK, "max_tokens": 50, "temperature": 0.5, "stop": [CANARY], "seed": 1,
            "metadata": {"a": CANARY}, "user": CANARY, "safer": {"plan": _PLAN, "trace": "redacted"},
        },
    ),
    ("/v1/chat/completions", {"model": "scripted", "messages": _TALK, "stream": True, "n": 1, "safer": {"depth": "full"}}),
    ("/v1/checks", {"messages": [*_TALK, {"role": "assistant", "content": CANARY}], "safer": {"policy": "default"}}),
    ("/v1/moderations", {"input": [CANARY, CANARY]}),
    ("/v1/moderations", {"input": _PARTS, "model": "scripted"}),
    ("/v1/traces/verify", {"plan": _PLAN, "trace": [_CALL], "answer": CANARY}),
    ("/v1/traces/verify", {"text": f"<plan>\n{CANARY}\n"}),
    (
        "/beta/litellm_basic_guardrail_api",
        {
            "input_type": "request", "texts": [CANARY], "images": [PIXEL], "structured_messages": _TALK,
            "tools": [{"name": CANARY}], "tool_calls": [{"id": CANARY}],
        },
    ),
)  # fmt: skip

ODD: Sequence[Any] = (
    None, True, False, 0, -1, 2**63, 10**80, 1e308, float("nan"), float("inf"), 0.1, "", CANARY, "\x00", [], {}, [[]], [None],
    {"": None}, {CANARY: CANARY}, [CANARY], {"type": "text"}, {"role": "user"}, "data:image/png;base64," + CANARY, "a" * 3000,
)  # fmt: skip


End = Literal["clear", "lost", "missing"]
"""Another request may follow; the server has to close the connection; or it waits for more, and need not answer."""


@dataclass(frozen=True)
class BrokenRequest:
    """The bytes on the wire, and what the server makes of their end."""

    name: str
    sent: bytes
    end: End = "clear"


def broken_requests(number: int, seed: int = 0) -> Iterator[BrokenRequest]:
    """Make so many; the same ones every time."""
    chance = random.Random(seed)
    for count in range(number):
        path, body = chance.choice(BODIES)
        break_json, break_bytes = chance.choice(list(_JSON.items())), chance.choice(list(_BYTES.items()))
        body = json.loads(json.dumps(body))
        names = []
        if chance.random() < 0.7:
            names.append(break_json[0])
            body = break_json[1](body, chance)
        data = json.dumps(body).encode("utf-8", "surrogatepass")
        if chance.random() < 0.5 or not names:
            names.append(break_bytes[0])
            data = break_bytes[1](data, chance)
        send = "plainly"
        end: End = "clear"
        if chance.random() < 0.3:
            send = chance.choice(list(_WIRE))
            data, end = _WIRE[send](path, data, chance)
        else:
            data = _request(path, data)
        yield BrokenRequest(f"{count}: {path}, {', '.join(names)}, sent {send}", data, end)


def _odd(chance: random.Random) -> Any:
    return deepcopy(chance.choice(ODD))


Node = tuple[Any, Any]


def _places(node: Any) -> list[Node]:
    """Every container below a node with a key of it."""
    pairs = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    return [(node, key) for key, _ in pairs] + [place for _, below in pairs for place in _places(below)]


def _put(body: Any, chance: random.Random) -> Any:
    for _ in range(chance.randint(1, 3)):
        if places := _places(body):
            node, key = chance.choice(places)
            node[key] = _odd(chance)
    return body


def _drop(body: Any, chance: random.Random) -> Any:
    node, key = chance.choice(_places(body))
    del node[key]
    return body


def _swap(body: Any, chance: random.Random) -> Any:
    places = _places(body)
    (one, here), (other, there) = chance.choice(places), chance.choice(places)
    one[here], other[there] = json.loads(json.dumps([other[there], one[here]]))
    return body


def _add(body: Any, chance: random.Random) -> Any:
    nodes = [body, *(node[key] for node, key in _places(body) if isinstance(node[key], dict))]
    chance.choice(nodes)[chance.choice([CANARY, "", "tools", "\x00"])] = _odd(chance)
    return body


def _nest(body: Any, chance: random.Random) -> Any:
    node, key = chance.choice(_places(body))
    for _ in range(chance.choice([1, 50, 150, 250])):
        node[key] = [node[key]] if chance.random() < 0.5 else {"a": node[key]}
    return body


def _repeat(body: Any, chance: random.Random) -> Any:
    lists = [node[key] for node, key in _places(body) if isinstance(node[key], list) and node[key]]
    if lists:
        found = chance.choice(lists)
        found *= chance.choice([2, 40])
    return body


_JSON: Mapping[str, Callable[[Any, random.Random], Any]] = {
    "odd values": _put,
    "a lost key": _drop,
    "values swapped": _swap,
    "a key too many": _add,
    "nested": _nest,
    "repeated": _repeat,
    "in a list": lambda body, _: [body],
    "another thing": lambda _, chance: _odd(chance),
}


def _flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _insert(*pieces: bytes) -> Callable[[bytes, random.Random], bytes]:
    def insert(data: bytes, chance: random.Random) -> bytes:
        place = chance.randrange(len(data))
        return data[:place] + chance.choice(pieces) + data[place:]

    return insert


_BYTES: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    "unchanged": lambda data, _: data,
    "cut": lambda data, chance: data[: chance.randrange(len(data))],
    "beheaded": lambda data, chance: data[chance.randrange(len(data)) :],
    "flipped": _flip,
    "twice": lambda data, _: data + data,
    "a key twice": lambda data, _: data[:1] + b'"model": "Xyzzy", "input": "Xyzzy", "text": "Xyzzy", ' + data[1:],
    "odd bytes": _insert(b"\x00", b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\r\n", b"\\u0000"),
    "odd escapes": _insert(b"\\ud800", b"\\udc00\\ud800", b"\\x41", b"\\u00", b'"', b"\\"),
    "odd JSON": _insert(b"NaN", b"-Infinity", b"//", b"1e99999", b"9" * 5000, b",", b"[" * 3000, b'{"a":' * 3000),
    "a byte order mark": lambda data, _: b"\xef\xbb\xbf" + data,
    "UTF-16": lambda data, _: data.decode().encode("utf-16"),
    "UTF-32": lambda data, _: data.decode().encode("utf-32-be"),
    "Latin-1": lambda data, _: data.decode("unicode-escape", "ignore").encode("latin-1", "replace"),
    "oversized": lambda data, chance: data + b" " * chance.choice([70_000, 140_000]),
}


def _request(path: str, data: bytes, *headers: str, kind: str = "application/json", method: str = "POST") -> bytes:
    length = [] if headers else [f"Content-Length: {len(data)}"]
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", *length, *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data


def _kind(path: str, data: bytes, chance: random.Random) -> tuple[bytes, End]:
    kinds = [
        "",
        "text/plain",
        "application/json; charset=utf-16",
        "application/xml",
        "multipart/form-data",
        "Xyzzy/Xyzzy",
        "application/json,",
    ]
    return _request(path, data, kind=chance.choice(kinds)), "clear"


def _method(path: str, data: bytes, chance: random.Random) -> tuple[bytes, End]:
    methods = ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "Xyzzy", "PROPFIND"]
    return _request(path, data, method=chance.choice(methods)), "clear"


def _path(path: str, data: bytes, chance: random.Random) -> tuple[bytes, End]:
    ends = ["/", "/Xyzzy", "?Xyzzy=Xyzzy", "//", "%00", "%ff", "/../" + "a" * 300]
    return _request(path + chance.choice(ends), data), "clear"


def _chunked(path: str, data: bytes, chance: random.Random) -> tuple[bytes, End]:
    size = chance.choice([1, 7, 1000, 100_000])
    pieces = [data[start : start + size] for start in range(0, min(len(data), 2000 * size), size)]
    body = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"
    return _request(path, body, "Transfer-Encoding: chunked"), "clear"


def _badly_chunked(path: str, data: bytes, chance: random.Random) -> tuple[bytes, End]:
    bodies = [b"Xyzzy\r\n" + data, b"-5\r\n" + data, b"5\r\nXyzzyXyzzy\r\n"]
    return _request(path, chance.choice(bodies), "Transfer-Encoding: chunked"), "lost"


def _bad_length(path: str, data: bytes, chance: random.Random) -> tuple[bytes, End]:
    lengths = ["-1", "Xyzzy", "1e3", "9" * 30, "0x10", f"{len(data)}\r\nContent-Length: {len(data) + 1}"]
    return _request(path, data, f"Content-Length: {chance.choice(lengths)}"), "lost"


def _too_long(path: str, data: bytes, chance: random.Random) -> tuple[bytes, End]:
    return _request(path, data, f"Content-Length: {len(data) + chance.choice([1, 100, 10_000_000])}"), "missing"


def _too_short(path: str, data: bytes, chance: random.Random) -> tuple[bytes, End]:
    return _request(path, data, f"Content-Length: {chance.randint(0, max(0, len(data) - 1))}"), "lost"


def _both(path: str, data: bytes, _: random.Random) -> tuple[bytes, End]:
    return _request(path, data, f"Content-Length: {len(data)}", "Transfer-Encoding: chunked"), "missing"


def _expecting(path: str, data: bytes, chance: random.Random) -> tuple[bytes, End]:
    what = chance.choice(["100-continue", "Xyzzy"])
    return _request(path, data, f"Content-Length: {len(data)}", f"Expect: {what}"), "clear"


def _headers(path: str, data: bytes, chance: random.Random) -> tuple[bytes, End]:
    odd = ["X-A: \x00", "Xyzzy", ": Xyzzy", "X-A: " + "a" * 100_000, "Content-Encoding: gzip\x0b", " folded: Xyzzy"]
    return _request(path, data, f"Content-Length: {len(data)}", chance.choice(odd)), "lost"


_WIRE: Mapping[str, Callable[[str, bytes, random.Random], tuple[bytes, End]]] = {
    "as another type": _kind,
    "with another method": _method,
    "to another path": _path,
    "in chunks": _chunked,
    "in bad chunks": _badly_chunked,
    "with a bad length": _bad_length,
    "with a length too long": _too_long,
    "with a length too short": _too_short,
    "with a length and in chunks": _both,
    "expecting something": _expecting,
    "with bad headers": _headers,
}
