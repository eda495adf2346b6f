"""What is changed of an item in each variant, and what is left alone."""

import numpy as np
import pytest

from safer_training.errors import DataError, PictureError
from safer_training.evaluation.listing import as_text, some
from safer_training.evaluation.question import Question
from safer_training.evaluation.sampling import Sampling
from safer_training.evaluation.variants import SEEDED, check_variants, question
from small_suite import item, pictured, png, said

GREEDY = Sampling()
ITEM = item(
    "conversation",
    prompt=(
        said("system", "Be brief."),
        said("user", None, "What's this?"),
        said("assistant", "A boat."),
        said("user", "I'm curious:", None, "can't it sink?"),
    ),
    images=(png(), png(colour="navy")),
)


def asked(variant: str, one: object = ITEM) -> Question:
    found = question(one, variant, GREEDY)  # type: ignore[arg-type]
    assert found is not None
    assert found.variant == variant
    assert found.uid == one.uid  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(
    ("variant", "text", "pictures"),
    [
        (
            "plain",
            "[system] Be brief.\n[user] What's this?\n[assistant] A boat.\n[user] I'm curious:\ncan't it sink?",
            2,
        ),
        (
            "no_image",
            "[system] Be brief.\n[user] What's this?\n[assistant] A boat.\n[user] I'm curious:\ncan't it sink?",
            0,
        ),
        ("no_text", "[system] Be brief.\n[user] \n[assistant] A boat.\n[user] ", 2),
    ],
)
def test_what_is_left(variant: str, text: str, pictures: int) -> None:
    found = asked(variant)
    assert as_text(found.prompt) == text
    assert len(found.images) == len(found.pictures()) == pictures


def test_rewording_frames_the_last_words_and_changes_no_others() -> None:
    found = asked("reworded")
    assert found.prompt[:3] == ITEM.prompt[:3]
    text = as_text(found.prompt[3:])
    assert "I am curious:" in text
    assert "cannot it sink?" in text
    assert len(text) > len("I am curious:\ncannot it sink?") + 10
    assert asked("reworded") == found, "the same every time"
    frames = {as_text(asked("reworded", item(str(number), "X")).prompt) for number in range(40)}
    assert len(frames) == 5


def test_noise_is_small_and_always_the_same() -> None:
    plain, noisy = asked("plain").pictures()[0], asked("noisy").pictures()[0]
    difference = np.abs(np.asarray(plain, int) - np.asarray(noisy, int))
    assert 1 < difference.mean() < 45
    assert np.array_equal(np.asarray(noisy), np.asarray(asked("noisy").pictures()[0]))
    assert not np.array_equal(np.asarray(noisy), np.asarray(asked("noisy", pictured("other", "?")).pictures()[0]))


def test_seeds_are_sampled() -> None:
    assert asked("seed-7").sampling == Sampling(seed=7, temperature=SEEDED)
    warm = question(ITEM, "seed-2", Sampling(temperature=1.0, seed=5))
    assert warm is not None
    assert (warm.sampling.temperature, warm.sampling.seed) == (1.0, 2)


@pytest.mark.parametrize(
    ("variant", "one"),
    [
        ("no_image", item("text alone")),
        ("no_text", item("text alone")),
        ("noisy", item("text alone")),
        ("no_image", pictured("picture alone")),
        ("reworded", pictured("picture alone")),
    ],
)
def test_variants_that_would_ask_nothing_else_are_left_out(variant: str, one: object) -> None:
    assert question(one, variant, GREEDY) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "nothing", "seed-", "seed-x", "seed--1", "PLAIN", "seed-1; plain"])
def test_unknown_variants_are_named(name: str) -> None:
    with pytest.raises(DataError, match=f"no variant '{name}'; there are plain, no_image"):
        check_variants(("plain", name))


def test_a_variant_is_asked_once() -> None:
    assert check_variants(("seed-1", "plain", "seed-1")) == ("seed-1", "plain")


@pytest.mark.parametrize(
    ("size", "sampling", "wanted"),
    [
        ((40, 30), {}, (40, 30)),
        ((40, 30), {"min_pixels": 4800}, (80, 60)),
        ((400, 300), {"max_pixels": 1200}, (40, 30)),
        ((1200, 1), {"max_pixels": 12}, (120, 1)),
    ],
)
def test_pictures_are_scaled_by_area(size: tuple[int, int], sampling: dict[str, int], wanted: tuple[int, int]) -> None:
    found = question(pictured("one", "?", image=png(size)), "plain", Sampling.model_validate(sampling))
    assert found is not None
    assert found.pictures()[0].size == wanted


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", png()[:60], png((300, 300))[:-400]])
def test_a_broken_picture_is_named(content: bytes) -> None:
    found = question(pictured("one", "?", image=content or b"\0"), "plain", GREEDY)
    assert found is not None
    with pytest.raises(PictureError, match=r"picture 1 cannot be read: \w+"):
        found.pictures()


def test_some_items_are_the_same_every_time_and_twins_stay_together() -> None:
    items = [item(f"a{number}", twin=f"t{number // 2}" if number < 20 else None) for number in range(40)]
    chosen = some(items, 10)
    assert 10 <= len(chosen) <= 11
    assert some(items[::-1], 10) == chosen[::-1]
    twins = [one.twin for one in chosen if one.twin]
    assert all(twins.count(name) == 2 for name in twins)
    assert some(items, None) == some(items, 400) == tuple(items)
