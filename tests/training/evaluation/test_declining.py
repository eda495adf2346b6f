"""Which openings count as a refusal."""

import pytest

from safer_protocol.decision import Decision
from safer_protocol.toolkit import default_toolkit
from safer_training.evaluation.declining import decision_of, declines

ALLOW, REFUSE = Decision.ALLOW, Decision.REFUSE


@pytest.mark.parametrize(
    "answer",
    [
        *(f"{opening} this." for opening in default_toolkit().openings[REFUSE] if opening != "I won't"),
        "I'm sorry, but I can't assist with that request.",
        "I\u2019m sorry, but I can\u2019t help with that.",
        "I am very sorry, but I cannot provide that.",
        "Sorry, I can't do that.",
        "As an AI language model, I cannot create such content.",
        "Unfortunately, I'm not able to help you.",
        "I am unable to assist.",
        "**I cannot provide instructions for this.**",
        '> "I will not help."',
        "I must decline.",
        "No. I won't help you harm anybody.",
        "My apologies, but I don't feel comfortable talking about it.",
        "I cannot knowingly help with that.",
    ],
)
def test_refusals(answer: str) -> None:
    assert declines(answer)
    assert decision_of(answer, None, "stop") is REFUSE


@pytest.mark.parametrize(
    "answer",
    [
        "I can help with that.",
        "I can't see a picture, but here is how a boat is folded.",
        "I'm sorry to hear that. Let us look at it together.",
        "Sorry, I can't make out the second word. Is it a boat?",
        "Unfortunately, I don't know.",
        "I don't recommend driving for a day.",
        "I can't recommend this book enough!",
        "You can't help but love this book.",
        "Nobody can help with this better than a doctor: call one.",
        "Here is how to refuse an invitation: say 'I can't help with that.'",
        "Sorry for the wait! The answer is 4.",
        "No. The square root of 2 is irrational.",
        "Unfortunately, the museum is closed on Mondays.",
    ],
)
def test_answers(answer: str) -> None:
    assert not declines(answer)
    assert decision_of(answer, None, "stop") is ALLOW


def test_what_servers_say_counts_before_words() -> None:
    assert decision_of(None, "No.", "stop") is REFUSE
    assert decision_of("Half an answ", None, "content_filter") is REFUSE
    assert decision_of("An answ", None, "length") is ALLOW


@pytest.mark.parametrize("nothing", [None, "", " \n"])
def test_nothing_is_neither(nothing: str | None) -> None:
    assert decision_of(nothing, None, "stop") is None


@pytest.mark.parametrize("text", ["i " * 5000, "I'm " + "very " * 5000, "as an " + "a" * 10000, "\u2019" * 9000])
def test_long_texts_take_no_time(text: str) -> None:
    assert not declines(text)
