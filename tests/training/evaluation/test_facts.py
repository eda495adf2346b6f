"""Folders of facts: rows by set, twins, golds, and what training has not seen."""

import json
from pathlib import Path

import pytest

from lookalikes import picture, put
from safer_training.errors import DataError
from safer_training.evaluation.item import Gold, Item
from safer_training.evaluation.loaders.facts import Facts
from safer_training.evaluation.loaders.twins import twin_of
from safer_training.rows import group_of, read_rows, side_of


def facts(folder: Path) -> Path:
    row: dict[str, object] = {"category": "tea", "expected": ["allow"], "licence": "MIT", "image": None}
    prompts = [
        {**row, "uid": f"drinks:{n}", "set": "drinks", "prompt": f"{n} is what kind of tea, I ask?"} for n in range(40)
    ]
    drawn = {**row, "uid": "figs:1", "set": "figs", "prompt": "What does it say?", "image": "images/figs/1.png"}
    put(folder / "prompts.jsonl", "".join(json.dumps(one) + "\n" for one in [*prompts, drawn]))
    card = {**row, "uid": "playing_cards:a.png", "set": "playing_cards", "prompt": None, "answer": None}
    card |= {"facts": {"name": "ace of spades"}, "image": "images/playing_cards/a.png"}
    put(folder / "benign_images.jsonl", json.dumps(card) + "\n")
    put(folder / "images/figs/1.png", picture(1))
    put(folder / "images/playing_cards/a.png", picture(2))
    return folder


def items(folder: Path, *sets: str, unseen: bool = False, gold: bool = False) -> tuple[Item, ...]:
    return Facts(sets=sets, unseen=unseen, gold=gold).load(folder).items


def test_rows_of_the_sets_that_are_asked_for_are_read(tmp_path: Path) -> None:
    folder = facts(tmp_path)
    assert len(items(folder, "drinks")) == 40
    (drawn,) = items(folder, "figs")
    assert drawn.images == (folder / "images/figs/1.png",)
    (card,) = items(folder, "playing_cards", "drinks", gold=True)
    assert (card.gold, card.category) == (Gold("ace of spades", "text"), "tea")


def test_unseen_rows_are_those_that_training_leaves_out(tmp_path: Path) -> None:
    folder = facts(tmp_path)
    unseen = {item.uid for item in items(folder, "drinks", unseen=True)}
    rows = [row for row in read_rows(folder / "prompts.jsonl") if row.set == "drinks"]
    assert unseen == {row.uid for row in rows if side_of(row) != "train"}
    assert 0 < len(unseen) < len({group_of(row) for row in rows})


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = facts(tmp_path)
    (folder / "images/figs/1.png").unlink()
    loaded = Facts(sets=("drinks", "figs", "none")).load(folder)
    assert len(loaded.items) == 40
    assert loaded.missing == ("figs:1: images/figs/1.png is missing", "no rows of the set none")
    with pytest.raises(DataError, match=r"no rows of figs in .*images/figs/1\.png is missing"):
        Facts(sets=("figs",)).load(folder)


@pytest.mark.parametrize(
    ("uid", "twin"),
    [
        ("xstest:1", "xstest:26"),
        ("xstest:26", "xstest:26"),
        ("xstest:25", "xstest:50"),
        ("xstest:251", "xstest:301"),
        ("xstest:276", "xstest:301"),
        ("xstest:450", "xstest:450"),
        ("held_out:xstest:425", "xstest:450"),
        ("xstest:451", None),
        ("jbb_benign:7", "jailbreakbench:7"),
        ("jbb_harmful:7", "jailbreakbench:7"),
        ("figstep:1_1", None),
        ("gsm8k:3", None),
    ],
)
def test_twins_are_told_by_their_numbers(uid: str, twin: str | None) -> None:
    assert twin_of(uid) == twin
