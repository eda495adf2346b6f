"""The answer while it is being written: what is held back, and when it is let go."""

import pytest

from safer_protocol.decision import Decision
from safer_protocol.toolkit import default_toolkit
from safer_server.answer import Answer
from safer_server.record import BrokenReplyError

TOOLKIT = default_toolkit()


@pytest.mark.parametrize(
    ("decision", "pieces"),
    [
        (Decision.ALLOW, [("Hel", "Hel"), ("lo", "lo"), ("\n", ""), ("</answer>\n", "")]),
        (Decision.ALLOW, [("I", ""), (" can", ""), (" do it", "I can do it")]),
        (Decision.ALLOW, [("a <", "a "), ("/", ""), ("b>", "</b>")]),
        (Decision.ALLOW, [("a\n", "a"), ("\n", "\n"), ("</ans", ""), ("wers>", "\n</answers>")]),
        (Decision.ALLOW, [("", ""), ("x", "x"), ("", "")]),
        (Decision.REFUSE, [("I w", ""), ("on", ""), ("'t", "I won't"), (" do", " do")]),
        (Decision.CLARIFY, [("Could you ", ""), ("clarify", "Could you clarify"), (" it?\n</answer>\n", " it?")]),
    ],
)
def test_pieces_and_what_they_release(decision: Decision, pieces: list[tuple[str, str]]) -> None:
    answer = Answer(decision, TOOLKIT)
    assert [answer.add(piece) for piece, _ in pieces] == [released for _, released in pieces]


@pytest.mark.parametrize(
    ("decision", "pieces"),
    [
        (Decision.ALLOW, ["I wo", "n't"]),
        (Decision.ALLOW, [" leading blank"]),
        (Decision.ALLOW, ["\n</answer>\n"]),
        (Decision.ALLOW, ["on one line</answer>"]),
        (Decision.REFUSE, ["I", " can help"]),
        (Decision.REFUSE, ["I can't\n</answer>\n"]),
        (Decision.SAFE_COMPLETE, ["I can't help with"]),
    ],
)
def test_a_wrong_answer_is_broken_before_any_of_it_is_released(decision: Decision, pieces: list[str]) -> None:
    answer = Answer(decision, TOOLKIT)
    released = [answer.add(piece) for piece in pieces[:-1]]
    with pytest.raises(BrokenReplyError):
        answer.add(pieces[-1])
    assert "".join(released) == ""


def test_a_cut_lets_go_of_a_possible_stop_text_and_not_of_a_possible_tag() -> None:
    answer = Answer(Decision.ALLOW, TOOLKIT, ("END",))
    assert answer.add("one EN") == "one "
    assert answer.cut() == "EN"
    answer = Answer(Decision.ALLOW, TOOLKIT)
    assert answer.add("one\n</") == "one"
    assert answer.cut() == ""
    assert answer.closed_text == "<answer>\none\n</answer>\n"


def test_what_follows_the_end_is_not_released() -> None:
    answer = Answer(Decision.ALLOW, TOOLKIT)
    assert answer.add("one\n</answer>\ntwo") == "one"
    assert answer.add("three") == ""
    assert answer.cut() == ""
