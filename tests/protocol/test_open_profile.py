"""The released line form: read, written, checked and constrained."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reply_strategies import ANSWER_TEXT
from safer_protocol.constrain.machine import Machine
from safer_protocol.errors import ValueFormError
from safer_protocol.open_profile import OpenCall, OpenReply, parse_open, print_open, verify_open
from safer_protocol.toolkit import default_toolkit
from safer_protocol.violation import Code

TOOLKIT = default_toolkit()

RELEASED = """<thinking>
[OCR-EXTRACT]: The picture shows a sign that says "open".
[JAILBREAK-SENTINEL]: No attempt to override rules; see [1].
[MY_OWN-TOOL2]: A coined tool may say what it likes.
[SAFETY-GATE]: Safe to answer.
</thinking>
<answer>
The shop is open.
</answer>
"""

CALLS = st.builds(
    OpenCall,
    tool=st.from_regex(r"[A-Z][A-Z0-9_-]{0,39}", fullmatch=True),
    text=st.text(st.characters(exclude_characters="<", exclude_categories=("Cs", "Cc")), min_size=1),
)
REPLIES = st.builds(
    OpenReply,
    trace=st.lists(CALLS, min_size=3, max_size=10).map(tuple),
    answer=ANSWER_TEXT.map(lambda text: "A" + text.encode("utf-8", "ignore").decode().replace("</answer>", "")),
).filter(lambda reply: "</answer>" not in reply.answer)


def test_the_released_form_is_accepted_and_coined_tools_are_named() -> None:
    report = verify_open(RELEASED, TOOLKIT)
    assert report.valid
    assert report.coined == ("MY_OWN-TOOL2",)


@given(REPLIES)
def test_round_trip(reply: OpenReply) -> None:
    text = print_open(reply)
    assert parse_open(text) == reply
    assert verify_open(text, TOOLKIT).valid


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("<thinking>\n", "", Code.SYNTAX),
        ("</thinking>\n<answer>", "</thinking> <answer>", Code.SYNTAX),
        ("[OCR-EXTRACT]: The", "OCR-EXTRACT: The", Code.SYNTAX),
        ("[OCR-EXTRACT]: The", "[ocr]: The", Code.SYNTAX),
        ("[MY_OWN-TOOL2]", f"[{'A' * 41}]", Code.SYNTAX),
        ('says "open".', "says <b>", Code.SYNTAX),
        ("</answer>\n", "", Code.SYNTAX),
        ("The shop is open.", "", Code.ANSWER_EMPTY),
        ("The shop is open.", "a</answer>b", Code.SYNTAX),
        ("[OCR-EXTRACT]: The", "[A]: x\n" * 8 + "[OCR-EXTRACT]: The", Code.BUDGET_CALLS),
    ],
)
def test_what_is_not_the_form_is_named(old: str, new: str, code: Code) -> None:
    assert old in RELEASED
    report = verify_open(RELEASED.replace(old, new, 1), TOOLKIT)
    assert code in {violation.code for violation in report.violations}


def test_too_few_calls() -> None:
    lines = RELEASED.splitlines(keepends=True)
    assert not verify_open("".join(lines[:2] + lines[5:]), TOOLKIT).valid


@given(st.text())
def test_any_text_gets_a_report(text: str) -> None:
    assert not verify_open(text, TOOLKIT).valid


def test_the_printer_refuses_what_has_no_written_form() -> None:
    with pytest.raises(ValueFormError):
        print_open(OpenReply(trace=(OpenCall(tool="lower", text="x"),), answer="x"))


def test_a_random_walk_verifies(machine: Machine) -> None:
    for seed in range(100):
        chance, cursor, written, count = random.Random(seed), machine.start_open(answer_tokens=20), bytearray(), 0
        while not cursor.finished:
            ids = cursor.allowed().ids
            written += cursor.advance(int(ids[chance.randrange(len(ids))]))
            count += 1
            assert count < 3000
        report = verify_open(written.decode(), TOOLKIT)
        assert report.violations == (), written.decode()
