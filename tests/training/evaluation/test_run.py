"""Runs against a target in memory: what is kept, what is asked again, and when a run gives up."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from safer_protocol.decision import Decision
from safer_training.errors import DataError, TargetError, TargetGoneError
from safer_training.evaluation.item import Item
from safer_training.evaluation.lines import read_lines
from safer_training.evaluation.listing import Listed
from safer_training.evaluation.manifest import Manifest, TargetCard
from safer_training.evaluation.question import Question
from safer_training.evaluation.replies import Reply
from safer_training.evaluation.run import HOPELESS, Progress
from safer_training.evaluation.runner import Order, carry_out
from safer_training.evaluation.store import Store
from safer_training.evaluation.targets.target import alike, one_by_one
from small_suite import item, order, pictured

CARD = TargetCard(kind="baseline", name="parrot")
ITEMS = [item(str(number)) for number in range(40)]


@dataclass
class Parrot:
    """Answers with the question's name, unless a test has it do otherwise."""

    before: Callable[[Question], None] = lambda question: None
    card: TargetCard = CARD
    at_once: int = 4
    asked: list[str] = field(default_factory=list)
    busy: int = 0
    busiest: int = 0

    def batches(self, questions: Sequence[Question]) -> Iterable[Sequence[Question]]:
        return one_by_one(questions)

    async def reply(self, batch: Sequence[Question]) -> Sequence[Reply]:
        self.busy += 1
        self.busiest = max(self.busy, self.busiest)
        await asyncio.sleep(0)
        self.busy -= 1
        for question in batch:
            self.asked.append(question.uid)
            self.before(question)
        return [Reply(uid=one.uid, variant=one.variant, answer=one.uid, decision=Decision.ALLOW) for one in batch]


def fails_for(uids: Sequence[str], error: Exception) -> Callable[[Question], None]:
    def before(question: Question) -> None:
        if question.uid in uids:
            raise error

    return before


def go(target: Any, folder: Path, what: Order | None = None) -> Progress:
    return asyncio.run(carry_out(what or order(ITEMS), target, Store(folder), lambda progress: None))


def kept(folder: Path) -> dict[str, Reply]:
    return {reply.uid: reply for reply in read_lines(folder / "replies.jsonl", Reply)}


def manifest(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / "run.json").read_text())


def test_a_run_keeps_every_reply_its_items_and_its_manifest(tmp_path: Path) -> None:
    items = [*ITEMS[:3], pictured("p", "What is this?", image=tmp_path / "no such picture.png")]
    done = go(target := Parrot(), tmp_path / "run", order(items, "plain", "noisy", "seed-1"))
    assert (done.replied, done.errors, done.wanted) == (9, 0, 9)
    assert target.busiest == 4
    listed = read_lines(tmp_path / "run/items.jsonl", Listed)
    assert [one.uid for one in listed] == ["0", "1", "2", "p"]
    assert listed[3].images == ("no such picture.png",)
    found = manifest(tmp_path / "run")
    assert (found.suite, found.items, found.missing) == ("small", 4, ("3 pictures",))
    assert found.ended is not None
    assert found.variants == ("plain", "noisy", "seed-1")
    assert set(found.versions) == {"safer-toolkit"}


def test_errors_are_lines_and_are_asked_again(tmp_path: Path) -> None:
    first = go(Parrot(fails_for(["5", "17"], TargetError("status 400: odd"))), tmp_path)
    assert (first.replied, first.errors, first.kinds) == (38, 2, {"status 400: odd": 2})
    assert kept(tmp_path)["5"].error == "status 400: odd"
    second = go(again := Parrot(), tmp_path)
    assert sorted(again.asked) == ["17", "5"]
    assert (second.replied, second.errors) == (40, 0)
    assert kept(tmp_path)["5"].error is None
    ended = manifest(tmp_path).ended
    assert go(nothing := Parrot(), tmp_path).replied == 40
    assert not nothing.asked
    assert manifest(tmp_path).ended == ended


def test_a_target_that_is_gone_ends_the_run_and_the_rest_is_asked_on_resuming(tmp_path: Path) -> None:
    dead = fails_for([str(number) for number in range(7, 40)], TargetGoneError("no connection"))
    with pytest.raises(
        TargetGoneError, match=r"parrot replies no more: no connection\. 7 of 40 questions have a reply"
    ):
        go(target := Parrot(dead), tmp_path)
    assert len(target.asked) < 7 + HOPELESS + target.at_once
    assert manifest(tmp_path).ended is None
    replies = kept(tmp_path)
    assert {uid for uid, reply in replies.items() if reply.error is None} == {str(number) for number in range(7)}
    assert go(again := Parrot(), tmp_path).replied == 40
    assert sorted(again.asked, key=int) == [str(number) for number in range(7, 40)]
    assert manifest(tmp_path).ended is not None


def test_a_target_that_stumbles_is_not_gone(tmp_path: Path) -> None:
    stumbles = fails_for([str(number) for number in range(40) if number % 8], TargetGoneError("status 503: busy"))
    assert go(Parrot(stumbles), tmp_path).errors == 35


def test_faults_of_the_questions_never_end_a_run(tmp_path: Path) -> None:
    assert go(Parrot(fails_for([one.uid for one in ITEMS], TargetError("status 400"))), tmp_path).errors == 40


def test_an_interrupted_run_keeps_what_was_replied(tmp_path: Path) -> None:
    def interrupts(question: Question) -> None:
        if question.uid == "20":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(Parrot(interrupts), tmp_path)
    before = set(kept(tmp_path))
    assert len(before) >= 16
    go(again := Parrot(), tmp_path)
    assert not before & set(again.asked)
    assert len(kept(tmp_path)) == 40


@pytest.mark.usefixtures("interruptible")
def test_a_target_that_computes_without_a_pause_can_be_interrupted(tmp_path: Path) -> None:
    class Busy(Parrot):
        async def reply(self, batch: Sequence[Question]) -> Sequence[Reply]:
            if batch[0].uid == "20":
                os.kill(os.getpid(), signal.SIGINT)
            return [Reply(uid=batch[0].uid)]

    with pytest.raises(KeyboardInterrupt):
        go(Busy(at_once=1), tmp_path)
    assert set(kept(tmp_path)) == {str(number) for number in range(21)}


@pytest.mark.parametrize(
    ("what", "named"),
    [
        (order(ITEMS, temperature=0.5), "sampling.temperature was 0.0 and is 0.5"),
        (order(ITEMS, "plain", "seed-1"), 'variants was ["plain"] and is ["plain", "seed-1"]'),
        (order(ITEMS[1:]), "items was 40 and is 39; items_sha256 was "),
        (order([*ITEMS[1:], item("0", "Another text?")]), "items_sha256 was "),
        (order(ITEMS, extra={"top_k": 3}), 'sampling.extra was {} and is {"top_k": 3}'),
    ],
)
def test_another_run_is_refused_with_what_differs(tmp_path: Path, what: Order, named: str) -> None:
    go(Parrot(), tmp_path)
    before = (tmp_path / "replies.jsonl").read_bytes(), (tmp_path / "run.json").read_bytes()
    with pytest.raises(DataError) as told:
        go(Parrot(), tmp_path, what)
    assert named in str(told.value)
    assert ((tmp_path / "replies.jsonl").read_bytes(), (tmp_path / "run.json").read_bytes()) == before


def test_another_target_is_refused(tmp_path: Path) -> None:
    go(Parrot(), tmp_path)
    other = Parrot(card=TargetCard(kind="baseline", name="parrot", revision="2"))
    with pytest.raises(DataError, match=r'target\.revision was null and is "2"'):
        go(other, tmp_path)


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.md").write_text("mine")
    with pytest.raises(DataError, match="is not empty and holds no run"):
        go(Parrot(), tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(DataError, match=r"run\.json is not the manifest of a run"):
        go(Parrot(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "thesis.md"]


@pytest.mark.parametrize(
    ("items", "message"), [([], "no items"), ([ITEMS[0], ITEMS[1], ITEMS[0]], "2 items of the suite have the name 0")]
)
def test_suites_that_cannot_be_counted_are_refused(tmp_path: Path, items: list[Item], message: str) -> None:
    with pytest.raises(DataError, match=message):
        go(Parrot(), tmp_path / "run", order(items))
    assert not (tmp_path / "run").exists()


def test_batches_hold_every_question_once_and_like_ones_together() -> None:
    from safer_training.evaluation.run import questions
    from safer_training.evaluation.sampling import Sampling

    items = [item(str(number), "word " * (number % 7 + 1)) for number in range(20)]
    items += [pictured(f"p{number}", "?") for number in range(5)]
    batches = list(alike(questions(items, ("plain",), Sampling()), 4))
    assert sorted(one.uid for batch in batches for one in batch) == sorted(one.uid for one in items)
    assert all(len({bool(one.images) for one in batch}) == 1 for batch in batches)
    assert max(map(len, batches)) == 4
