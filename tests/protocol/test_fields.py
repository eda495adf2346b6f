"""Each kind of field: how it is written, read and checked."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reply_strategies import values
from safer_protocol.errors import ValueFormError
from safer_protocol.fields import (
    Choice,
    Field,
    Flag,
    Level,
    Score,
    Text,
    Texts,
    Value,
    fault,
    fewest_tokens,
    pattern,
    read_value,
    write_value,
)
from safer_protocol.plan import Depth

FIELDS: list[Field] = [
    Flag(key="f"),
    Level(key="l"),
    Choice(key="c", words=("red", "green")),
    Score(key="s"),
    Text(key="t", budget=10),
    Texts(key="m", items=3, budget=6),
]


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.kind)
@given(data=st.data())
def test_a_value_is_read_back_as_written_and_matches_the_pattern(field: Field, data: st.DataObject) -> None:
    value = data.draw(values(field, Depth.STANDARD))
    written = write_value(field, value)
    assert read_value(field, written) == value
    assert type(read_value(field, written)) is type(value)
    assert re.fullmatch(pattern(field), written)
    assert fault(field, value, 1.0) is None


@pytest.mark.parametrize(
    ("field", "raw"),
    [
        (Flag(key="f"), "true"),
        (Flag(key="f"), ""),
        (Score(key="s"), "-1"),
        (Score(key="s"), "1.5"),
        (Score(key="s"), "\u0663"),
        (Score(key="s"), "9" * 5000),
        (Level(key="l"), '"high"'),
        (Text(key="t"), "bare"),
        (Text(key="t"), '"'),
        (Texts(key="m"), '"a", "b"'),
        (Texts(key="m"), '["a","b"]'),
    ],
)
def test_what_is_not_of_the_kind_is_not_read(field: Field, raw: str) -> None:
    with pytest.raises(ValueFormError):
        read_value(field, raw)


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        (Flag(key="f"), 1, "type"),
        (Score(key="s"), True, "type"),
        (Score(key="s"), 101, "range"),
        (Level(key="l"), "extreme", "range"),
        (Texts(key="m", items=2), ("a", "b", "c"), "range"),
        (Texts(key="m"), ("a", "<b>"), "type"),
        (Text(key="t", budget=3), "one two three four", "budget"),
        (Text(key="t", budget=1), "x" * 300, "budget"),
    ],
)
def test_faults(field: Field, value: Value, kind: str) -> None:
    found = fault(field, value, 1.0)
    assert found is not None
    assert found[0] == kind


def test_depth_scales_a_budget() -> None:
    field = Text(key="t", budget=4)
    text = "one two three four five"
    assert fault(field, text, Depth.FULL.scale) is None
    assert fault(field, text, Depth.STANDARD.scale) is not None
    assert fault(field, "one two three", Depth.BRIEF.scale) is not None


@given(st.text())
def test_the_bound_on_tokens_is_never_above_the_bytes(text: str) -> None:
    assert fewest_tokens(text) <= len(text.encode("utf-8", "surrogatepass"))
