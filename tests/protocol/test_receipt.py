"""Canonical JSON is that of RFC 8785, and receipts hash and sign everything they say."""

from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from safer_protocol.receipt import Receipt, Tombstone, canonical, digest

HASH = "0" * 64
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
KEYS = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
)


@given(VALUES)
def test_canonical_json_is_what_the_standard_says(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    "value", [0.5, 1.0, float("nan"), float("inf"), 2**53, -(2**53), [{"a": 1e3}], object(), "\ud800"]
)
def test_what_has_more_than_one_spelling_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"canonical|large|JSON|surrogates"):
        canonical(value)


def receipt(**changes: Any) -> Receipt:
    fields = dict.fromkeys(Receipt.model_fields) | {
        "trace_id": "tr_1",
        "time": "2026-01-01T00:00:00.000Z",
        "server": "s",
        "parts": ({"part": "messages[0].content", "sha256": HASH},),
        "protocol_hash": "p",
        "policy": "default",
        "policy_hash": "p",
        "model": "m",
        "outcome": "answered",
        "valid": True,
        "violations": (),
        "record": HASH,
        "version": 1,
        "sequence": 0,
        "key": "k",
        "signature": "",
    }
    return Receipt.model_validate(fields | changes)


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("trace_id", "tr_2"),
        ("time", "2026-01-01T00:00:00.001Z"),
        ("parts", ()),
        ("answer", HASH),
        ("decision", "allow"),
        ("valid", False),
        ("violations", ("syntax",)),
        ("sequence", 1),
        ("previous", HASH),
        ("key", "other"),
    ],
)
def test_everything_but_the_signature_is_signed(field: str, other: object) -> None:
    assert receipt(**{field: other}).payload != receipt().payload
    assert receipt(signature="x").payload == receipt().payload
    assert receipt(signature="x").hash != receipt().hash == digest(receipt().model_dump(mode="json"))


@pytest.mark.parametrize(
    "change", [{"record": "0"}, {"sequence": -1}, {"version": 2}, {"more": 1}, {"violations": ("x",)}]
)
def test_what_is_no_receipt_is_not_read(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        receipt(**change)


def test_a_tombstone_signs_where_it_stands() -> None:
    stone = Tombstone(server="s", sequence=3, receipt=HASH, time="t", key="k")
    assert stone.payload != stone.model_copy(update={"sequence": 4}).payload
    assert stone.payload == stone.model_copy(update={"signature": "x"}).payload
