"""Building: parts of the sizes asked for, apart from each other, in TRL's form; an interruption loses nothing."""

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from safer_protocol.decision import Decision
from safer_protocol.prompt import pictures
from safer_protocol.text import print_reply
from safer_protocol.toolkit import Toolkit
from safer_protocol.verify import verify
from safer_training.data.allot import Rows, Sizes, allot, prepare
from safer_training.data.build import JOURNAL, Builder
from safer_training.data.card import Card
from safer_training.data.check import check
from safer_training.data.corruptions import Corruption
from safer_training.data.judge import Filter
from safer_training.data.pool import read_pool
from safer_training.data.records import DpoRow, GrpoRow, Prompt, SftRow, read_part
from safer_training.data.teachers import Task, Taught, TemplateTeacher
from safer_training.errors import DataError, TeacherError, TrainingError
from safer_training.judge import Judged, Scores

SIZES = Sizes(sft=30, dpo=95, grpo=40, held_out=20)


def ignore(part: str, done: int, wanted: int) -> None:
    assert 0 <= done <= wanted, part


@pytest.fixture(scope="module")
def rows(own_pool: Path) -> Rows:
    return prepare(read_pool(own_pool))


@pytest.fixture(scope="module")
def built(own_pool: Path, rows: Rows, toolkit: Toolkit) -> Path:
    Builder(own_pool, toolkit, TemplateTeacher(toolkit), None, 0, ignore).build(rows, SIZES)
    return own_pool


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


def prompts(folder: Path) -> dict[str, list[Prompt]]:
    return {
        "sft": list(read_part(folder, "sft", SftRow)),
        "dpo": list(read_part(folder, "dpo", DpoRow)),
        "grpo": list(read_part(folder, "grpo", GrpoRow)),
        "held_out": list(read_part(folder, "held_out", GrpoRow)),
    }


def test_every_part_has_the_size_asked_for_and_the_card_says_so(built: Path) -> None:
    sizes = {part: len(found) for part, found in prompts(built).items()}
    assert sizes == SIZES.model_dump()
    card = Card.model_validate_json((built / "dataset.json").read_bytes())
    assert card.rows == sizes
    assert card.template_share == 1.0
    assert set(card.licences.values()) == {"Apache-2.0"}
    told = (built / "README.md").read_text()
    assert "Replies made by templates: 100%" in told
    assert check(built, Toolkit()) == sum(sizes.values())


def test_no_group_is_in_two_parts(built: Path) -> None:
    where = defaultdict(set)
    for part, found in prompts(built).items():
        for row in found:
            where[row.group].add("sft" if part == "dpo" else part)
    assert all(len(parts) == 1 for parts in where.values())


def test_replies_verify_and_decide_as_labelled(built: Path, toolkit: Toolkit) -> None:
    assert all(verify(row.reply, toolkit).valid for row in read_part(built, "sft", SftRow))
    for row in read_part(built, "dpo", DpoRow):
        assert verify(row.chosen, toolkit).valid
        assert row.chosen != row.rejected
        assert row.corruption in tuple(Corruption)


def test_all_corruptions_are_about_equally_common(built: Path) -> None:
    made = Counter(row.corruption for row in read_part(built, "dpo", DpoRow))
    assert set(made) == set(Corruption)
    assert max(made.values()) - min(made.values()) <= 3


def test_half_of_the_decisions_are_refusals_in_pictures_too(built: Path) -> None:
    rows = list(read_part(built, "grpo", GrpoRow))
    refused = [Decision.ALLOW not in row.expected for row in rows]
    assert 0.4 < sum(refused) / len(refused) < 0.6
    drawn = Counter(Decision.ALLOW in row.expected for row in rows if row.images and len(row.prompt[-1].content) <= 2)
    assert set(drawn) == {True, False}


def test_the_pictures_of_a_row_are_opened_in_their_places(built: Path) -> None:
    row = next(row for row in read_part(built, "grpo", GrpoRow) if row.images)
    (image,) = pictures(row.turns(built))
    assert image.mode == "RGB"


def test_building_again_gives_the_same_files(built: Path, rows: Rows, toolkit: Toolkit) -> None:
    before = Card.model_validate_json((built / "dataset.json").read_bytes())
    again = Builder(built, toolkit, TemplateTeacher(toolkit), None, 0, ignore).build(rows, SIZES)
    assert again == before


def test_a_row_of_another_form_is_named_with_its_line(built: Path, tmp_path: Path) -> None:
    lines = (built / "sft.jsonl").read_text().splitlines()
    (tmp_path / "sft.jsonl").write_text(lines[0] + "\n" + json.dumps({**json.loads(lines[1]), "images": ["x.png"]}))
    with pytest.raises(DataError, match=r"sft\.jsonl:2: .*places in the prompt"):
        list(read_part(tmp_path, "sft", SftRow))


@dataclass(frozen=True)
class Scripted:
    """A teacher that fails on some rows and goes silent after some time."""

    toolkit: Toolkit
    silent_after: int = 10**9
    asked: list[str] = field(default_factory=list)
    name: str = "scripted-model"
    workers: int = 4

    def write(self, task: Task) -> Taught:
        if len(self.asked) >= self.silent_after:
            raise TeacherError("scripted-model does not answer")
        self.asked.append(task.shown.row.uid)
        if len(task.shown.row.text) % 5 == 0:
            return Taught(None, "order")
        return Taught(print_reply(task.shown.reply, self.toolkit))


def test_a_silent_teacher_stops_the_build_and_no_answer_is_asked_twice(
    tmp_path: Path, rows: Rows, toolkit: Toolkit
) -> None:
    first, second = Scripted(toolkit, silent_after=20), Scripted(toolkit)
    with pytest.raises(TeacherError):
        Builder(tmp_path, toolkit, first, None, 0, ignore).build(rows, SIZES)
    card = Builder(tmp_path, toolkit, second, None, 0, ignore).build(rows, SIZES)
    assert not set(first.asked) & set(second.asked)
    assert card.template_share == 0.0
    assert card.dropped_replies["order"] == sum(1 for uid in first.asked + second.asked) - SIZES.sft


class Silent:
    """A judge that is down."""

    def score(self, judged: Sequence[Judged]) -> list[Scores | None]:
        return [None for _ in judged]


def test_a_silent_judge_stops_the_build_and_is_asked_again(tmp_path: Path, rows: Rows, toolkit: Toolkit) -> None:
    with pytest.raises(TeacherError, match="the judge gave no scores to any of 30 replies"):
        Builder(tmp_path, toolkit, TemplateTeacher(toolkit), Filter(Silent(), "j"), 0, ignore).build(rows, SIZES)
    assert (tmp_path / JOURNAL).read_text() == ""


def test_a_journal_cut_short_is_read_up_to_the_cut(tmp_path: Path, rows: Rows, toolkit: Toolkit) -> None:
    Builder(tmp_path, toolkit, Scripted(toolkit), None, 0, ignore).build(rows, SIZES)
    journal = tmp_path / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-40])
    teacher = Scripted(toolkit)
    Builder(tmp_path, toolkit, teacher, None, 0, ignore).build(rows, SIZES)
    assert len(teacher.asked) == 1


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        (Sizes(sft=9000, dpo=10, grpo=10, held_out=10), r"too few rows: sft 9000 of \d+, grpo 10 of \d+"),
        (Sizes(sft=10, dpo=61, grpo=10, held_out=10), "give 60 preference pairs, not 61"),
    ],
)
def test_too_much_is_refused_before_anything_is_begun(
    sizes: Sizes, told: str, rows: Rows, toolkit: Toolkit, tmp_path: Path
) -> None:
    teacher = Scripted(toolkit)
    with pytest.raises(DataError, match=told):
        Builder(tmp_path, toolkit, teacher, None, 0, ignore).build(rows, sizes)
    assert not teacher.asked
    assert not list(tmp_path.iterdir())


def test_a_teacher_whose_replies_are_all_bad_is_told_of(tmp_path: Path, rows: Rows, toolkit: Toolkit) -> None:
    class Bad(Scripted):
        def write(self, task: Task) -> Taught:
            return Taught(None, "missing_decision")

    with pytest.raises(DataError, match=r"gave 0 good ones, not 30; faults: missing_decision"):
        Builder(tmp_path, toolkit, Bad(toolkit, name="bad"), None, 0, ignore).build(rows, SIZES)


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("sft.jsonl", "category", "kategory", "was changed since"),
        ("dataset.json", '"protocol_hash": "', '"protocol_hash": "0', "was built for protocol"),
        ("dataset.json", '"rows"', '"lines"', "Field required|Extra inputs"),
    ],
)
def test_a_changed_data_set_does_not_pass(
    name: str, old: str, new: str, told: str, copy: Path, toolkit: Toolkit
) -> None:
    file = copy / name
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(TrainingError, match=told):
        check(copy, toolkit)


def test_a_lost_picture_is_named(copy: Path, toolkit: Toolkit) -> None:
    next((copy / "pictures").rglob("*.png")).unlink()
    with pytest.raises(DataError, match="missing picture"):
        check(copy, toolkit)


def test_rows_are_allotted_the_same_whatever_their_order(rows: Rows) -> None:
    parts = allot(rows, SIZES, 0)
    again = allot(rows, SIZES, 0)
    assert parts == again
    assert allot(rows, SIZES, 1) != parts
