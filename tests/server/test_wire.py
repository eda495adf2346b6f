"""Every body at all is read or refused with a field that is named and nothing repeated; every valid one is read."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from attack import EXAMPLES
from safer_server.body import invalid
from safer_server.routes.protocol import TraceToVerify
from safer_server.wire.check import CheckRequest, GuardrailRequest, ModerationRequest
from safer_server.wire.request import ChatRequest

MODELS: list[type[BaseModel]] = [ChatRequest, CheckRequest, ModerationRequest, GuardrailRequest, TraceToVerify]
PARAM = re.compile(r"[A-Za-z0-9_.-]+|\?|\[\d+\]")
INPUT = "qzx "
"""Stands in every text; no name may hold a blank."""

NAMES = sorted({name for model in MODELS for name in model.model_fields} | {
    "role", "content", "type", "text", "image_url", "url", "detail", "plan", "trace", "depth", "tool", "fields", "refusal",
})  # fmt: skip
WORDS = [
    "user",
    "assistant",
    "system",
    "developer",
    "text",
    "image_url",
    "auto",
    "check",
    "full",
    "error",
    "request",
    "default",
]
TEXTS = st.text(max_size=8).map(INPUT.__add__)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from([10**100, -(10**30), 2**63, 0, 1]), st.floats(), TEXTS,
    st.sampled_from(WORDS),
)  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | TEXTS, below, max_size=5),
    max_leaves=25,
)


def told(model: type[BaseModel], data: bytes) -> tuple[str | None, str] | None:
    """Read a body; return the field and message of the error, if it is one."""
    try:
        model.model_validate_json(data)
    except ValidationError as error:
        fault = invalid(error.errors(include_url=False, include_input=False)[0])
        return fault.param, fault.message
    return None


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None)
@given(body=st.dictionaries(st.sampled_from(NAMES) | TEXTS, JSON, max_size=6) | JSON)
def test_whatever_comes_is_read_or_refused_by_name(model: type[BaseModel], body: Any) -> None:
    error = told(model, json.dumps(body).encode())
    if error is not None:
        param, message = error
        assert INPUT not in f"{param}{message}"
        assert param is None or all(PARAM.fullmatch(step) for step in re.split(r"\.|(?=\[)", param))


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None)
@given(data=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-16", "surrogatepass")))
def test_bytes_that_are_no_json_are_refused(model: type[BaseModel], data: bytes) -> None:
    error = told(model, data)
    assert error is not None
    assert INPUT not in str(error)


GOOD = b'{"model": "scripted", "messages": [{"role": "user", "content": "hello"}]}'


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + GOOD,
        GOOD.decode().encode("utf-16"),
        GOOD.decode().encode("utf-32"),
        GOOD.replace(b"hello", b"\xff"),
        GOOD.replace(b"hello", b"\xed\xa0\x80"),
        GOOD.replace(b"hello", rb"\ud800"),
        GOOD.replace(b"hello", rb"\udc00\ud800"),
        GOOD.replace(b"hello", b"a\nb"),
        GOOD.replace(b"hello", b"a\x00b"),
        GOOD.replace(b'"hello"', b"[" * 100_000),
        GOOD.replace(b'"hello"', b'{"a":' * 100_000),
        GOOD[:-1] + b', "seed": ' + b"9" * 100_000 + b"}",
        GOOD + b"{}",
        GOOD + b"\x00",
        b"",
    ],
)
def test_what_is_not_json_is_not_read(data: bytes) -> None:
    assert told(ChatRequest, data) == (None, "The body is not valid JSON.")


@pytest.mark.parametrize(
    ("field", "param"),
    [
        (b'"temperature": NaN', "temperature"),
        (b'"temperature": Infinity', "temperature"),
        (b'"temperature": 1e999', "temperature"),
        (b'"top_p": 1e-999', "top_p"),
        (b'"seed": 9999999999999999999999999999', "seed"),
        (b'"max_tokens": -9999999999999999999999', "max_tokens"),
        (b'"max_tokens": 1.0', "max_tokens"),
        (b'"stream": 1', "stream"),
        (b'"n": 1.0', "n"),
        (b'"n": NaN', "n"),
        (b'"metadata": {"a": "\\u0000", "b": 1}', "metadata.b"),
        (b'"model": "scripted", "model": null', "model"),
        (b'"__proto__": 1', "__proto__"),
        (b'"": 1', "?"),
        (b'"<user>": 1', None),
        (b'"user\\u0000": 1', "?"),
    ],
)
def test_odd_values_are_refused_by_name(field: bytes, param: str) -> None:
    error = told(ChatRequest, GOOD[:-1] + b", " + field + b"}")
    assert error is not None
    assert error[0] == param


def test_of_a_key_that_is_given_twice_the_last_counts() -> None:
    assert ChatRequest.model_validate_json(GOOD[:-1] + b', "model": "other"}').model == "other"


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
URLS = st.fixed_dictionaries({"url": TEXT}, optional={"detail": st.sampled_from([None, "auto"])})
PARTS = st.lists(
    st.fixed_dictionaries({"type": st.just("text"), "text": TEXT})
    | st.fixed_dictionaries({"type": st.just("image_url"), "image_url": URLS}),
    min_size=1,
    max_size=3,
)
TEXT_PARTS = PARTS.map(lambda parts: [{"type": "text", "text": "a"} for _ in parts])
MESSAGES: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "developer"]), "content": TEXT | TEXT_PARTS})
    | st.fixed_dictionaries({"role": st.just("user"), "content": TEXT | PARTS})
    | st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": TEXT | TEXT_PARTS},
        optional={"refusal": st.none() | TEXT, "reasoning": st.none() | TEXT, "annotations": st.just([])},
    ),
    min_size=1,
    max_size=4,
)
SAFER = st.fixed_dictionaries(
    {},
    optional={
        "depth": st.sampled_from([None, "brief", "standard", "full"]),
        "trace": st.sampled_from(["full", "redacted", "none"]),
        "block": st.sampled_from(["refusal", "error"]),
        "policy": TEXT,
        "plan": st.none(),
    },
)
SHARED = {
    "user": st.none() | TEXT,
    "safety_identifier": st.none() | TEXT,
    "metadata": st.none() | st.dictionaries(TEXT, TEXT, max_size=16),
    "safer": st.none() | SAFER,
}
CHATS = st.fixed_dictionaries(
    {"model": st.text(st.characters(exclude_categories=["Cs"])), "messages": MESSAGES},
    optional={
        **SHARED,
        "max_tokens": st.none() | st.integers(1, 10**40),
        "max_completion_tokens": st.none() | st.integers(1, 10**40),
        "temperature": st.none() | st.floats(0, 2) | st.integers(0, 2),
        "top_p": st.none() | st.floats(0, 1, exclude_min=True),
        "seed": st.none() | st.integers(-(2**63), 2**63 - 1),
        "stop": st.none() | TEXT | st.lists(TEXT, max_size=4),
        "stream": st.none() | st.booleans(),
        "stream_options": st.none() | st.fixed_dictionaries({}, optional={"include_usage": st.booleans()}),
        "n": st.sampled_from([None, 1]),
        "response_format": st.sampled_from([None, {"type": "text"}]),
    },
)
VALID: list[tuple[type[BaseModel], st.SearchStrategy[dict[str, Any]]]] = [
    (ChatRequest, CHATS),
    (CheckRequest, st.fixed_dictionaries({"messages": MESSAGES}, optional={**SHARED, "model": st.none() | TEXT})),
    (ModerationRequest, st.fixed_dictionaries({"input": TEXT | st.lists(TEXT, min_size=1, max_size=4) | PARTS})),
    (
        GuardrailRequest,
        st.fixed_dictionaries(
            {"input_type": st.sampled_from(["request", "response"])},
            optional={
                "texts": st.none() | st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3),
                "structured_messages": st.none() | MESSAGES,
                "tools": st.none() | st.lists(st.dictionaries(TEXT, TEXT), max_size=2),
                "something_new": SCALARS,
            },
        ),
    ),
    (TraceToVerify, st.fixed_dictionaries({"text": st.text(st.characters(exclude_categories=["Cs"]))})),
]


@pytest.mark.parametrize(("model", "bodies"), VALID, ids=lambda value: getattr(value, "__name__", ""))
@settings(max_examples=EXAMPLES, derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_what_is_right_is_read(
    model: type[BaseModel], bodies: st.SearchStrategy[dict[str, Any]], data: st.DataObject
) -> None:
    body = data.draw(bodies)
    assert told(model, json.dumps(body).encode()) is None
    assert told(model, json.dumps(body, ensure_ascii=False).encode()) is None


@pytest.mark.parametrize("model", MODELS)
def test_null_is_as_good_as_nothing(model: type[BaseModel]) -> None:
    (example,) = model.model_json_schema()["examples"]
    whole = model.model_validate_json(json.dumps(example))
    for name, field in model.model_fields.items():
        if name not in example and field.default in (None, ()):
            assert model.model_validate_json(json.dumps({**example, name: None})) == whole, name
