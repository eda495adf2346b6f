"""What is printed parses back equal and verifies clean."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reply_strategies import replies
from safer_protocol.errors import ProtocolError
from safer_protocol.reply import Reply
from safer_protocol.text import parse, print_call, print_reply
from safer_protocol.toolkit import default_toolkit
from safer_protocol.trace import Call
from safer_protocol.verify import verify
from safer_protocol.violation import Code

TOOLKIT = default_toolkit()

EXAMPLE = """<plan>
category=none; risk=low; persona=educator; topology=linear; depth=standard
[OCR-EXTRACT]
[RISK-SCORER]
[SAFETY-GATE]
</plan>
<thinking>
[OCR-EXTRACT]: found=yes; text="How do I; [bake] bread?"
[RISK-SCORER]: category=none; level=none; score=3
[SAFETY-GATE]: rationale="a kitchen question"; verdict=allow
</thinking>
<answer>
Mix flour, water and yeast.
</answer>
"""


@given(replies(TOOLKIT))
def test_a_printed_reply_parses_back_equal_and_verifies_clean(reply: Reply) -> None:
    text = print_reply(reply, TOOLKIT)
    parsed = parse(text, TOOLKIT)
    assert parsed.violations == ()
    assert parsed.reply == reply
    assert verify(text, TOOLKIT).violations == ()
    assert verify(reply, TOOLKIT).valid


@given(replies(TOOLKIT))
def test_json_round_trip(reply: Reply) -> None:
    assert Reply.model_validate_json(reply.model_dump_json()) == reply


@given(replies(TOOLKIT))
def test_the_published_reward_reads_the_trace(reply: Reply) -> None:
    """The released reward takes the first thinking block and its bracketed names that a colon follows."""
    thinking = re.search(r"<thinking>(.*?)</thinking>", print_reply(reply, TOOLKIT), re.DOTALL)
    assert thinking is not None
    named = [line.partition("]")[0][1:] for line in thinking[1].splitlines() if re.match(r"\[[A-Z0-9_-]+\]\s*:", line)]
    assert named == [call.tool for call in reply.trace]


@given(replies(TOOLKIT))
def test_a_reply_that_only_decides_has_no_answer_block(reply: Reply) -> None:
    decided = reply.model_copy(update={"answer": None})
    text = print_reply(decided, TOOLKIT)
    assert "<answer>" not in text
    assert parse(text, TOOLKIT).reply == decided
    assert verify(text, TOOLKIT).valid


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("<plan>\n", "", Code.SYNTAX),
        ("risk=low; ", "", Code.SYNTAX),
        ("; depth=standard", "; depth=standard ", Code.SYNTAX),
        ("[OCR-EXTRACT]\n", "[OCR-EXTRACT]\r\n", Code.SYNTAX),
        ("[OCR-EXTRACT]: ", "[OCR-EXTRACT] : ", Code.SYNTAX),
        ("[OCR-EXTRACT]: ", "OCR-EXTRACT: ", Code.SYNTAX),
        ("; text=", " text=", Code.SYNTAX),
        ("found=yes; ", "found=yes; found=yes; ", Code.SYNTAX),
        ("found=yes; ", "found=yes;  ", Code.SYNTAX),
        ("score=3", "score=03", Code.NOT_CANONICAL),
        ("score=3", "score=3; ", Code.NOT_CANONICAL),
        ("score=3", 'score="3"', Code.FIELD_TYPE),
        ("found=yes", "found=maybe", Code.FIELD_TYPE),
        ("</answer>\n", "</answer>", Code.INCOMPLETE),
        ("yeast.\n</answer>", "yeast.</answer>", Code.SYNTAX),
        ("</answer>\n", "", Code.INCOMPLETE),
        ("</answer>\n", "</answer>\nmore\n", Code.TRAILING_TEXT),
    ],
)
def test_what_is_not_the_wire_form_is_named(old: str, new: str, code: Code) -> None:
    assert EXAMPLE.count(old) == 1 or old == "[OCR-EXTRACT]\n"
    report = verify(EXAMPLE.replace(old, new, 1), TOOLKIT)
    assert not report.valid
    assert code in {violation.code for violation in report.violations}


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_any_text_gets_a_report(text: str) -> None:
    assert not verify(text, TOOLKIT).valid


@given(replies(TOOLKIT), st.data())
def test_a_text_is_valid_only_as_it_is_printed(reply: Reply, data: st.DataObject) -> None:
    """Splice two places of a valid text: what still verifies must be the printed form of what was read."""
    text = print_reply(reply, TOOLKIT)
    start, end = sorted((data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))))
    spliced = text[:start] + data.draw(st.text(max_size=3)) + text[end:]
    if verify(spliced, TOOLKIT).valid:
        read = parse(spliced, TOOLKIT).reply
        assert read is not None
        assert print_reply(read, TOOLKIT) == spliced


def test_a_flood_of_broken_lines_gets_a_short_report() -> None:
    assert len(verify("x\n" * 200_000, TOOLKIT).violations) <= 100
    flood = parse(EXAMPLE, TOOLKIT).reply
    assert flood is not None
    assert len(verify(flood.model_copy(update={"trace": flood.trace * 10_000}), TOOLKIT).violations) <= 100


@pytest.mark.parametrize(
    "call",
    [
        Call(tool="NO-SUCH-TOOL", fields={}),
        Call(tool="OCR-EXTRACT", fields={"found": True, "text": 'a "quoted" word'}),
        Call(tool="OCR-EXTRACT", fields={"found": "yes", "text": ""}),
        Call(tool="OCR-EXTRACT", fields={"colour": "red"}),
        Call(tool="RISK-SCORER", fields={"score": 101}),
    ],
)
def test_the_printer_refuses_what_has_no_written_form(call: Call) -> None:
    with pytest.raises(ProtocolError):
        print_call(call, TOOLKIT)
