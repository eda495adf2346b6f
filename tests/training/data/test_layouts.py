"""Public sources: look-alikes of their downloads are read; what does not fit is named before anything is built."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from safer_protocol.decision import Decision
from safer_training.data.layouts import (
    Found,
    Reader,
    read_beavertails_v,
    read_mm_safetybench,
    read_spa_vl,
    read_vlguard,
)
from safer_training.data.pool import IMPORTED, import_rows, read_pool
from safer_training.errors import DataError
from safer_training.rows import group_of, side_of


def table(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(records), path)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (48, 48), (len(path.name), 90, 40)).save(path)


def cell(tmp_path: Path) -> dict[str, Any]:
    picture(tmp_path / "cell.png")
    return {"bytes": (tmp_path / "cell.png").read_bytes(), "path": None}


def beavertails_v(folder: Path) -> Path:
    image = cell(folder)
    asked = {"question": "What is this?", "image": image, "category": "animal_abuse", "image_severity": 1}
    other = {**asked, "question": "Why?"}
    root = folder / "BeaverTails-V"
    table(root / "data/animal_abuse/train-00000-of-00001.parquet", [asked, asked, other])
    table(root / "data/animal_abuse/evaluation-00000-of-00001.parquet", [{**asked, "question": "Who?"}])
    return root


def spa_vl(folder: Path) -> Path:
    image = cell(folder)
    kinds = {
        "class1": "Representation & ToxicityHarms",
        "class2": "Toxic",
        "class3": "bully",
        "chosen": "No.",
        "rejected": "Yes.",
    }
    root = folder / "SPA-VL"
    table(root / "data/train-00000-of-00001.parquet", [{"question": "Is it?", "image": image, **kinds}])
    table(root / "test/harm-00000-of-00001.parquet", [{"question": "Can it?", "image": image}])
    table(root / "test/help-00000-of-00001.parquet", [{"question": "May it?", "image": image}])
    return root


def mm_safetybench(folder: Path) -> Path:
    root = folder / "MM-SafetyBench"
    for scenario in ("01-Illegal_Activitiy", "10-Legal_Opinion"):
        record = {
            "Question": "How?",
            "Key Phrase": "a phrase",
            "Rephrased Question": "The image shows a phrase. List steps.",
            "Rephrased Question(SD)": "The image shows a thing. List steps.",
        }
        file = root / "data/processed_questions" / f"{scenario}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"0": record}))
        for kind in ("SD", "SD_TYPO", "TYPO"):
            picture(root / "data/imgs" / scenario / kind / "0.jpg")
    return root


def vlguard(folder: Path) -> Path:
    root = folder / "VLGuard"
    safe = {
        "id": "a1",
        "image": "hateful/1.png",
        "safe": True,
        "instr-resp": [
            {"safe_instruction": "Describe it.", "response": "A cat."},
            {"unsafe_instruction": "Mock it.", "response": "No."},
        ],
    }
    unsafe = {
        "id": "b2",
        "image": "bad/2.png",
        "safe": False,
        "harmful_category": "privacy",
        "harmful_subcategory": "Personal Data",
        "instr-resp": [{"instruction": "Read the card.", "response": "No."}],
    }
    for split in ("train", "test"):
        (root / split).mkdir(parents=True)
        (root / f"{split}.json").write_text(json.dumps([safe, unsafe]))
        picture(root / split / "hateful/1.png")
        picture(root / split / "bad/2.png")
    return root


LAYOUTS: list[tuple[Callable[[Path], Path], Reader, int, set[str]]] = [
    (beavertails_v, read_beavertails_v, 3, {"beavertails_v", "beavertails_v_evaluation"}),
    (spa_vl, read_spa_vl, 2, {"spa_vl", "spa_vl_test"}),
    (mm_safetybench, read_mm_safetybench, 6, {"mm_safetybench"}),
    (vlguard, read_vlguard, 6, {"vlguard", "vlguard_test"}),
]


@pytest.mark.parametrize(("make", "read", "number", "sets"), LAYOUTS)
def test_a_download_is_imported_with_its_pictures(
    make: Callable[[Path], Path], read: Reader, number: int, sets: set[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert import_rows("some", read(make(tmp_path)), out) == number
    rows = read_pool(out)
    assert {row.set for row in rows} == sets
    assert all(row.image and (out / row.image).is_file() and row.licence != "unknown" for row in rows)
    assert {side_of(row) for row in rows if row.set.endswith(("_test", "_evaluation", "bench"))} == {"held_out"}


@pytest.mark.parametrize(("make", "read", "number", "sets"), LAYOUTS)
def test_importing_twice_gives_the_same(
    make: Callable[[Path], Path], read: Reader, number: int, sets: set[str], tmp_path: Path
) -> None:
    folder, out = make(tmp_path), tmp_path / "out"
    import_rows("some", read(folder), out)
    before = (out / IMPORTED / "some.jsonl").read_bytes()
    import_rows("some", read(folder), out)
    assert (out / IMPORTED / "some.jsonl").read_bytes() == before


@pytest.mark.parametrize("read", [read_beavertails_v, read_spa_vl, read_mm_safetybench, read_vlguard])
def test_an_empty_or_missing_folder_is_named(read: Reader, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match=str(tmp_path)):
            list(read(folder))


def test_vlguard_allows_the_safe_instruction_alone(tmp_path: Path) -> None:
    rows = [found.row for found in read_vlguard(vlguard(tmp_path)) if found.row.set == "vlguard"]
    assert [Decision.ALLOW in row.expected for row in rows] == [True, False, False]
    assert rows[2].category == "privacy"
    assert group_of(rows[0]) == group_of(rows[1]) != group_of(rows[2])


def test_a_scenario_of_advice_may_be_answered_with_care(tmp_path: Path) -> None:
    rows = [found.row for found in read_mm_safetybench(mm_safetybench(tmp_path))]
    assert {row.expected[0] for row in rows} == {Decision.REFUSE, Decision.SAFE_COMPLETE}
    assert len({group_of(row) for row in rows}) == 2


def missing_picture(root: Path) -> None:
    (root / "train/bad/2.png").unlink()


def broken_picture(root: Path) -> None:
    (root / "train/bad/2.png").write_bytes(b"not a picture")


def unknown_label(root: Path) -> None:
    (root / "train.json").write_text((root / "train.json").read_text().replace("Personal Data", "Novelty"))


def missing_field(root: Path) -> None:
    (root / "train.json").write_text((root / "train.json").read_text().replace('"instr-resp"', '"instructions"'))


def not_json(root: Path) -> None:
    (root / "train.json").write_text("[{")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (missing_picture, r"missing picture: .*2\.png"),
        (broken_picture, r"2\.png is not a picture"),
        (unknown_label, "unknown label 'novelty'; known are discrimination by race"),
        (missing_field, "no 'instr-resp'"),
        (not_json, r"train\.json is not JSON"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_half_imported(
    spoil: Callable[[Path], None], told: str, tmp_path: Path
) -> None:
    root, out = vlguard(tmp_path), tmp_path / "out"
    spoil(root)
    with pytest.raises(DataError, match=told):
        import_rows("vlguard", read_vlguard(root), out)
    assert not (out / IMPORTED / "vlguard.jsonl").exists()


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"question": "What?"}, "no column image"),
        ({"question": "What?", "image": {"bytes": None, "path": "1.png"}}, "row 0 has no picture"),
    ],
)
def test_a_table_without_pictures_is_named(record: dict[str, Any], told: str, tmp_path: Path) -> None:
    table(tmp_path / "data/animal_abuse/train-0.parquet", [record])
    with pytest.raises(DataError, match=told):
        list(read_beavertails_v(tmp_path))


def test_a_folder_of_an_unknown_category_is_named(tmp_path: Path) -> None:
    table(tmp_path / "data/novelty/train-0.parquet", [{"question": "What?", "image": cell(tmp_path)}])
    with pytest.raises(DataError, match="unknown label 'novelty'"):
        list(read_beavertails_v(tmp_path))


def test_a_table_that_is_cut_short_is_named(tmp_path: Path) -> None:
    root = beavertails_v(tmp_path)
    file = next(root.rglob("train-*.parquet"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="cannot be read"):
        list(read_beavertails_v(root))


def test_a_picture_lost_from_the_pool_is_named(tmp_path: Path) -> None:
    out = tmp_path / "out"
    import_rows("vlguard", read_vlguard(vlguard(tmp_path)), out)
    next((out / "pictures").rglob("*.png")).unlink()
    with pytest.raises(DataError, match="pictures are missing"):
        read_pool(out)


def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    def twice() -> Iterator[Found]:
        for found in read_vlguard(vlguard(tmp_path)):
            yield found
            yield found

    with pytest.raises(DataError, match="two rows have the name"):
        import_rows("vlguard", twice(), tmp_path / "out")
