"""Public layouts: look-alikes are read whole, and what is missing from them is counted and named."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lookalikes import (
    LOOKALIKES,
    cell,
    mathvista_json,
    mm_safetybench,
    mm_vet_table,
    mssbench,
    picture,
    pope_json,
    put,
    table,
)
from safer_protocol.decision import Decision
from safer_training.data.records import ImageContent, TextContent
from safer_training.errors import DataError
from safer_training.evaluation.item import Gold, Item
from safer_training.evaluation.suite import load_suite

ALLOW, REFUSE, SAFE = Decision.ALLOW, Decision.REFUSE, Decision.SAFE_COMPLETE


def load(suite: str, root: Path) -> tuple[dict[str, Item], tuple[str, ...]]:
    loaded = load_suite(suite, root).load()
    return {item.uid: item for item in loaded.items}, loaded.missing


def text(item: Item) -> str:
    return "".join(part.text if isinstance(part, TextContent) else "[]" for part in item.prompt[0].content)


@pytest.mark.parametrize("suite", LOOKALIKES)
def test_a_download_is_read_whole_and_alike_each_time(suite: str, tmp_path: Path) -> None:
    make, number = LOOKALIKES[suite]
    make(tmp_path)
    items, _ = load(suite, tmp_path)
    assert len(items) == number
    assert items == load(suite, tmp_path)[0]
    for item in items.values():
        places = [part for message in item.prompt for part in message.content if isinstance(part, ImageContent)]
        assert len(places) == len(item.images)


@pytest.mark.parametrize("suite", LOOKALIKES)
def test_a_folder_of_something_else_is_told_of(suite: str, tmp_path: Path) -> None:
    put(tmp_path / "notes.txt", "nothing")
    with pytest.raises(DataError, match=str(tmp_path)):
        load(suite, tmp_path)


def test_twins_of_mssbench_share_words_and_differ_in_what_is_right(tmp_path: Path) -> None:
    mssbench(tmp_path)
    items, missing = load("mssbench", tmp_path)
    safe, unsafe = items["chat/0/1/safe"], items["chat/0/1/unsafe"]
    assert (safe.prompt, safe.twin) == (unsafe.prompt, unsafe.twin)
    assert (safe.expected, unsafe.expected) == ((ALLOW,), (SAFE, REFUSE))
    assert safe.images != unsafe.images
    assert not missing


def test_advice_may_be_answered_with_care(tmp_path: Path) -> None:
    mm_safetybench(tmp_path)
    items, _ = load("mm-safetybench", tmp_path)
    assert items["01-Illegal_Activitiy/0/SD"].harmful is True
    assert items["12-Health_Consultation/0/SD"].expected == (SAFE, REFUSE, ALLOW)


def test_what_spa_vl_does_not_label_expects_nothing(tmp_path: Path) -> None:
    LOOKALIKES["spa-vl"][0](tmp_path)
    items, _ = load("spa-vl", tmp_path)
    assert {item.category: item.harmful for item in items.values()} == {"harm": True, "help": None}


def test_pictures_stand_where_mmmu_marks_them(tmp_path: Path) -> None:
    LOOKALIKES["mmmu"][0](tmp_path)
    items, missing = load("mmmu", tmp_path)
    item = items["validation_Art_Theory_1"]
    assert text(item).startswith("What does []") or text(item).startswith("What does ")
    assert text(item).count("[]") == len(item.images) == 2
    assert "(picture 2)" in text(item)
    assert item.category == "Art_Theory"
    assert item.gold == Gold("B", "choice", ("A cat", "It's <image 2>", "None"))
    assert items["validation_Art_Theory_2"].gold == Gold("24", "number")
    assert items["validation_Art_Theory_3"].gold == Gold("$6 | six dollars", "text")
    assert "28 of 30 subjects are missing" in missing


def test_golds_of_general_sets(tmp_path: Path) -> None:
    for suite in ("mathvista", "mmstar", "mm-vet", "pope"):
        LOOKALIKES[suite][0](tmp_path / suite)
    golds = {
        suite: {uid: item.gold for uid, item in load(suite, tmp_path / suite)[0].items()}
        for suite in ("mathvista", "mmstar", "mm-vet", "pope")
    }
    assert golds["mathvista"] == {
        "1": Gold("1.2", "number"),
        "2": Gold("B", "choice", ("6cm", "7cm")),
        "3": Gold("[1, 2]", "text"),
    }
    assert golds["mmstar"]["0"] == Gold("B", "choice", ("A cup", "A cat, or so", "Nothing", "All"))
    assert golds["mm-vet"] == {"v1_0": Gold("-1<AND>-5", "open")}
    assert set(golds["pope"].values()) == {Gold("yes", "yes_no")}


def test_the_other_layouts_of_three_general_sets(tmp_path: Path) -> None:
    for suite, make, number in (("mathvista", mathvista_json, 1), ("mm-vet", mm_vet_table, 1), ("pope", pope_json, 3)):
        make(tmp_path / suite)
        items, _ = load(suite, tmp_path / suite)
        assert len(items) == number, suite


def test_moderation_sets_say_what_is_harmful_and_why(tmp_path: Path) -> None:
    def read(suite: str) -> list[tuple[bool | None, str]]:
        LOOKALIKES[suite][0](tmp_path / suite)
        return [(item.harmful, item.category) for item in load(suite, tmp_path / suite)[0].values()]

    assert read("openai-moderation") == [(False, "none"), (True, "hate"), (None, "none")]
    assert read("toxic-chat") == [(False, "none"), (True, "toxic"), (True, "jailbreak")]
    assert read("harmbench") == [(True, "illegal"), (True, "illegal")]
    assert text(load("harmbench", tmp_path / "harmbench")[0]["do_b"]) == "A text\n\nDo another"


def test_held_out_rows_keep_pictures_golds_and_twins(tmp_path: Path) -> None:
    LOOKALIKES["toolkit-held-out"][0](tmp_path)
    items, missing = load("toolkit-held-out", tmp_path)
    assert items["held_out:own:1"].gold == Gold("7", "number")
    assert items["held_out:own:1"].images == (tmp_path / "pictures/1.png",)
    assert items["held_out:xstest:26"].twin == "xstest:26"
    assert not missing


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def half_beavertails(root: Path) -> None:
    cut(root / "data/sexual_crimes/evaluation-00000-of-00001.parquet")


def pointer(root: Path) -> None:
    put(
        root / "data/sexual_crimes/evaluation-00000-of-00001.parquet",
        "version https://git-lfs.github.com/spec/v1\noid x",
    )


def missing_shard(root: Path) -> None:
    whole = root / "data/sexual_crimes/evaluation-00000-of-00001.parquet"
    whole.rename(whole.with_name("evaluation-00000-of-00002.parquet"))


def no_picture(root: Path) -> None:
    (root / "data/imgs/01-Illegal_Activitiy/SD/1.jpg").unlink()


def cut_picture(root: Path) -> None:
    cut(root / "data/imgs/01-Illegal_Activitiy/TYPO/0.jpg")


def empty_picture(root: Path) -> None:
    put(root / "data/imgs/01-Illegal_Activitiy/TYPO/0.jpg", b"")


def cut_questions(root: Path) -> None:
    cut(root / "data/processed_questions/01-Illegal_Activitiy.json")


def no_question(root: Path) -> None:
    file = root / "data/processed_questions/01-Illegal_Activitiy.json"
    file.write_text(file.read_text().replace("Rephrased Question(SD)", "Renamed", 1))


def cut_png(root: Path) -> None:
    cut(root / "embodied/b.png")


def no_part(root: Path) -> None:
    put(root / "combined.json", json.dumps({"chat": json.loads((root / "combined.json").read_text())["chat"]}))


def uneven(root: Path) -> None:
    file = root / "combined.json"
    file.write_text(file.read_text().replace('"safe_instructions": [', '"safe_instructions": ["Wait.", '))


def nothing_in_cell(root: Path) -> None:
    path = root / "data/test-00000-of-00001.parquet"
    rows = pq.read_table(path).to_pylist()
    table(path, [{**rows[0], "image": {"bytes": b"", "path": None}}, {**rows[1], "answer": "maybe"}, rows[2]])


def lost_picture(root: Path) -> None:
    path = root / "Accounting/validation-00000-of-00001.parquet"
    rows = pq.read_table(path).to_pylist()
    table(path, [{**rows[0], "image_2": None}, {**rows[1], "options": "[oops"}, rows[2]])


def torn_lines(root: Path) -> None:
    cut(root / "data/samples-1680.jsonl.gz")


def torn_csv(root: Path) -> None:
    file = root / "data/0124/toxic-chat_annotation_test.csv"
    file.write_text(file.read_text().replace("c,Be another,No,True,0,1,[]\n", "c"))


@pytest.mark.parametrize(
    ("suite", "spoil", "left", "told"),
    [
        (
            "beavertails-v",
            half_beavertails,
            1,
            "data/sexual_crimes/evaluation-00000-of-00001.parquet is cut off or broken",
        ),
        ("beavertails-v", pointer, 1, "data/sexual_crimes/evaluation-00000-of-00001.parquet is a Git LFS pointer"),
        ("beavertails-v", missing_shard, 3, "data/sexual_crimes/evaluation-00001-of-00002 is missing"),
        ("beavertails-v", lambda root: None, 3, "the category identity_misuse_and_impersonation is missing"),
        ("mm-safetybench", no_picture, 11, "imgs/01-Illegal_Activitiy/SD/1.jpg is missing"),
        ("mm-safetybench", cut_picture, 11, "01-Illegal_Activitiy/TYPO/0.jpg is not a whole picture"),
        ("mm-safetybench", empty_picture, 11, "01-Illegal_Activitiy/TYPO/0.jpg is not a whole picture"),
        ("mm-safetybench", cut_questions, 6, "processed_questions/01-Illegal_Activitiy.json is cut off or broken"),
        ("mm-safetybench", no_question, 11, "01-Illegal_Activitiy/0/SD: no 'Rephrased Question(SD)'"),
        ("mm-safetybench", lambda root: None, 12, "processed_questions/13-Gov_Decision.json is missing"),
        ("mm-safetybench", lambda root: None, 12, "5028 of 5040 items are not there"),
        ("mssbench", cut_png, 5, "embodied/b.png is not a whole picture"),
        ("mssbench", no_part, 4, "combined.json has no part embodied"),
        ("mssbench", uneven, 4, "embodied/0: not as many safe instructions as unsafe ones"),
        ("pope", nothing_in_cell, 1, "row 1: no picture"),
        ("pope", nothing_in_cell, 1, "row 2: the answer is neither yes nor no"),
        ("mmmu", lost_picture, 4, "row 1: a picture that the text marks is not there"),
        ("mmmu", lost_picture, 4, "Accounting/validation-00000-of-00001.parquet: row 2: "),
        ("openai-moderation", torn_lines, 1, "data/samples-1680.jsonl.gz is cut off or broken"),
        ("toxic-chat", torn_csv, 2, "row 3 has no user_input"),
    ],
)
def test_half_a_download_is_read_and_the_rest_is_named(
    suite: str, spoil: Callable[[Path], None], left: int, told: str, tmp_path: Path
) -> None:
    LOOKALIKES[suite][0](tmp_path)
    spoil(tmp_path)
    items, missing = load(suite, tmp_path)
    assert len(items) == left
    assert any(told in line for line in missing), missing


def test_a_table_of_other_columns_is_not_that_set(tmp_path: Path) -> None:
    table(tmp_path / "data/animal_abuse/evaluation-00000-of-00001.parquet", [{"text": "a", "image": cell(1)}])
    with pytest.raises(DataError, match="no column question"):
        load("beavertails-v", tmp_path)


def test_a_download_cannot_name_pictures_outside_of_it(tmp_path: Path) -> None:
    put(tmp_path / "secret.jpg", picture(1, "JPEG"))
    root = tmp_path / "mssbench"
    mssbench(root)
    file = root / "combined.json"
    file.write_text(file.read_text().replace('"1.jpg"', '"../../secret.jpg"'))
    items, missing = load("mssbench", root)
    assert not any(uid.startswith("chat") and uid.endswith("/safe") for uid in items)
    assert any("outside the folder" in line for line in missing)
