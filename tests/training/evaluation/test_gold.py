"""Whether an answer is right: tables of what models write, and what is only made to look right."""

import pytest

from safer_training.evaluation.gold import gold_of, right
from safer_training.evaluation.item import Gold

ANIMALS = ("A cat", "A dog", "A red fox", "None of these")
CHOICE = Gold("B", "choice", ANIMALS)


@pytest.mark.parametrize(
    "answer",
    [
        "B",
        "b",
        "(B)",
        "B.",
        "B)",
        "**B**",
        "B: A dog",
        "B. A dog, because it barks",
        "The answer is B.",
        "The correct answer is (B) A dog.",
        "Answer: B",
        "answer: **B**",
        "The final answer is $\\boxed{B}$",
        "I first thought the answer is A. But it barks, so the answer is B.",
        "Option B is right.",
        "It is a dog.",
        "The picture shows a dog on a lawn.",
        "Looking at the tail, I choose (B).",
        "B\nIt has a collar.",
        "It must be B",
        "The answer is b.",
        "The answer is a dog.",
        "A dog is what the picture shows.",
    ],
)
def test_a_choice_is_read(answer: str) -> None:
    assert right(CHOICE, answer) is True


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "A",
        "A or B",
        "It is A, or else B",
        "(A) or (B)",
        "The answer is B. No, the answer is A.",
        "A dog or a cat",
        "It is not a dog.",
        "I can't help with that.",
        "A picture of something",
        "Bark",
        "Both",
        "D. None of these",
        "A, B, C, D",
        "I'd say B is wrong; the answer: C",
        "The answer is not B",
        "B is wrong.",
        "Answer: B or C",
        "Answer: (B), (C)",
        "The answer is a cat",
    ],
)
def test_what_is_not_that_choice_is_wrong(answer: str) -> None:
    assert right(CHOICE, answer) is False


@pytest.mark.parametrize(
    ("choices", "answer", "letter"),
    [
        (("10", "10 metres"), "It is 10 metres.", "B"),
        (("10", "10 metres"), "It is 10.", "A"),
        (("neither", "sample B", "sample A"), "sample A", "C"),
        (("neither", "sample B", "sample A"), "It is sample B.", "B"),
        (("Yes", "No"), "No, it is not.", "B"),
        (("same", "same"), "same", None),
    ],
)
def test_a_choice_is_known_by_its_words(choices: tuple[str, ...], answer: str, letter: str | None) -> None:
    assert {one for one in "ABC"[: len(choices)] if right(Gold(one, "choice", choices), answer)} == set(letter or ())


@pytest.mark.parametrize(
    ("gold", "answer", "is_right"),
    [
        ("4", "4", True),
        ("4", "There are 4 cells.", True),
        ("4", "four", True),
        ("4", "There are 3 red and 1 blue, so 4 in all.", True),
        ("4", "4 (three red and one blue)", True),
        ("4", "Answer: 4 of the 12 boxes", True),
        ("4", "The answer is **4**.", True),
        ("4", "4.0", True),
        ("4", "-4", False),
        ("4", "14", False),
        ("4", "4.2", False),
        ("4", "more than 4 and up to 6", False),
        ("4", "no idea", False),
        ("4", "4, 5 or 6", False),
        ("4", "It is not 4.", False),
        ("4", "Sentence 3.4.5", False),
        ("4", "", False),
        ("1000", "1,000 g", True),
        ("1000", "1000g", True),
        ("1.2", "1.2", True),
        ("1.2", "about 1.23 m", True),
        ("1.2", "1.26", False),
        ("1.2", "1", False),
        ("0.5", "1/2", True),
        ("0.5", ".5", True),
        ("50", "50%", True),
        ("-5", "x = -5", True),
        ("-5", "x = \u22125", True),
        ("7", "The result is 7 after 3 steps", True),
        ("360", "8 * 45 = 360", True),
        ("2", "1/0", False),
        ("3", "1e400", False),
    ],
)
def test_numbers_are_equal_to_the_places_of_the_gold_one(gold: str, answer: str, is_right: bool) -> None:
    assert right(gold_of(gold), answer) is is_right


@pytest.mark.parametrize(
    ("gold", "answer", "is_right"),
    [
        ("true", "True.", True),
        ("true", "Yes, there is.", True),
        ("true", "The statement is true.", True),
        ("true", "The statement is not true.", False),
        ("false", "The statement is not true.", True),
        ("no", "No, there is no cup.", True),
        ("no", "There is no cup in the image.", True),
        ("yes", "Yes, no doubt.", True),
        ("yes", "It is hard to say whether yes or no.", False),
        ("yes", "There is a cup.", False),
        ("no", "I can't help with that.", False),
        ("yes", "Looking closely... no red box. The answer is yes.", True),
        ("no", "Nobody knows", False),
        ("yes", "", False),
    ],
)
def test_yes_and_no(gold: str, answer: str, is_right: bool) -> None:
    assert right(gold_of(gold), answer) is is_right


@pytest.mark.parametrize(
    ("gold", "answer", "is_right"),
    [
        ("fork", "Fork", True),
        ("fork", "This is a fork on a table.", True),
        ("fork", "This is not a fork.", False),
        ("fork", "forklift", False),
        ("ace of spades", "The Ace of Spades!", True),
        ("ace of spades", "spades ace", False),
        ("$6 | six dollars", "It costs six dollars.", True),
        ("keycap 8", "keycap: 8", True),
        ("[1, 2]", "[1,2]", True),
        ("[1, 2]", "Sorted, it is [1, 2]. ", True),
        ("[1, 2]", "[1, 2, 3]", False),
        ("[1, 2]", "1 and 2", False),
        ("fork", "", False),
        ("the", "the", True),
        ("???", "???", False),
    ],
)
def test_words_occur_in_a_row(gold: str, answer: str, is_right: bool) -> None:
    assert right(Gold(gold, "text"), answer) is is_right


def test_open_answers_are_for_a_judge() -> None:
    assert right(Gold("-1<AND>-5", "open"), "x = -1 or x = -5") is None


@pytest.mark.parametrize("kind", ["choice", "number", "yes_no", "text"])
def test_a_very_long_answer_takes_no_time(kind: str) -> None:
    gold = Gold({"choice": "B", "number": "4", "yes_no": "yes", "text": "fork"}[kind], kind, ANIMALS)  # type: ignore[arg-type]
    for piece in ("answer is ", "1,000,", "(A", "not ", "1/", "\\boxed{"):
        assert right(gold, piece * 5_000) in (True, False)
