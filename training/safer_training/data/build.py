"""From the pool to a data set: allot rows, show them, let the teacher reply, filter, corrupt, write.

Everything but the teacher's and the judge's words follows from the pool, the sizes and the seed. Those words are kept in a journal,
so a build that was interrupted goes on where it stopped when the same command is given again.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

from safer_protocol.text import parse
from safer_protocol.toolkit import Toolkit
from safer_training.data.allot import Rows, Sizes, allot
from safer_training.data.card import Card, Tally, write_card
from safer_training.data.corruptions import Case, Corruption, corrupt
from safer_training.data.journal import Journal, task_key
from safer_training.data.judge import NO_SCORES, Filter
from safer_training.data.pictures import PictureStore
from safer_training.data.records import TEMPLATE, DpoRow, GrpoRow, Part, Prompt, SftRow, TextContent
from safer_training.data.staging import Manner, Stage, manners, to_messages
from safer_training.data.teachers import Task, Taught, Teacher
from safer_training.errors import DataError, TeacherError
from safer_training.rows import Row, group_of
from safer_training.shown import Shown
from safer_training.teacher import judge as judgement_of

JOURNAL = "work/journal.jsonl"
Progress = Callable[[str, int, int], None]
"""Told the part, the rows done and the rows wanted."""


@dataclass(frozen=True)
class Sample:
    """A row as shown, its prompt as it will be written, and the manner."""

    shown: Shown
    prompt: Prompt
    manner: Manner


@dataclass(frozen=True)
class Builder:
    """Builds a data set in a folder that holds a pool."""

    folder: Path
    toolkit: Toolkit
    teacher: Teacher
    judge: Filter | None
    seed: int
    progress: Progress

    def build(self, rows: Rows, sizes: Sizes) -> Card:
        """Build and write all parts; raise `DataError` before anything is begun where the rows do not suffice."""
        queues = allot(rows, sizes, self.seed)
        tally = Tally()
        journal = Journal(self.folder / JOURNAL)
        try:
            taught = self._taught(queues["sft"], sizes.sft, journal, tally)
        finally:
            journal.close()
        sft = [SftRow(**_shared(sample), reply=reply) for sample, reply in taught]
        self._write("sft", sft)
        dpo = list(self._pairs(taught, sizes.dpo))
        if len(dpo) < sizes.dpo:
            raise DataError(f"the SFT rows gave {len(dpo)} preference pairs, not {sizes.dpo}: ask for fewer")
        self._write("dpo", dpo)
        exams: dict[Part, list[GrpoRow]] = {}
        wanted_of: dict[Part, int] = {"grpo": sizes.grpo, "held_out": sizes.held_out}
        for part, wanted in wanted_of.items():
            samples = self._samples(queues[part][:wanted], part)
            exams[part] = [self._exam(sample, tally, part) for sample in self._told(samples, part, wanted)]
            self._write(part, exams[part])
        for sample, _ in taught:
            tally.add("sft", sample.prompt, sample.manner, sample.shown.row.expected[0])
        for pair in dpo:
            tally.add("dpo", pair, pair.corruption)
        parts: dict[Part, Sequence[Prompt]] = {"sft": sft, "dpo": dpo, **exams}
        judge = None if self.judge is None else self.judge.name
        return write_card(
            self.folder, self.toolkit.hash, self.seed, self.teacher.name, judge, parts, tally, rows.removed
        )

    def _samples(self, rows: Sequence[Row], part: Part) -> Iterator[Sample]:
        from safer_training.render import Fonts, draw, scene

        fonts: Fonts = "unseen" if part == "held_out" else "seen"
        stage = Stage(
            others=[row for row in rows if row.image is None] or rows,
            harmful=[row for row in rows if row.refusing and row.image is None],
            photos=[row for row in rows if row.image and row.pictured is None and not row.refusing],
            draw=lambda text, rng: (draw(text, rng, fonts) if text else scene(rng)).image,
            toolkit=self.toolkit,
        )
        store = PictureStore(self.folder)
        for row, manner in zip(rows, manners(rows, Random(f"{self.seed} {part}")), strict=True):
            shown = stage.show(row, manner, Random(f"{self.seed} {row.uid}"))
            messages, images = to_messages(shown.turns, store)
            prompt = Prompt(
                uid=f"{part}:{row.uid}",
                group=group_of(row),
                source=row.set,
                licence=row.licence,
                teacher=self.teacher.name if part == "sft" else TEMPLATE,
                protocol_hash=self.toolkit.hash,
                prompt=messages,
                images=images,
            )
            # Without its turns, which may hold drawn pictures, a shown row is small enough to keep thousands.
            yield Sample(replace(shown, turns=()), prompt, manner)

    def _taught(self, queue: Sequence[Row], wanted: int, journal: Journal, tally: Tally) -> list[tuple[Sample, str]]:
        """Let the teacher reply until enough replies are good; a row without one makes room for the next spare row."""
        done: list[tuple[Sample, str]] = []
        first = self._samples(queue[:wanted], "sft")
        samples = chain(first, self._samples(queue[wanted:], "sft"))
        with ThreadPoolExecutor(self.teacher.workers) as pool:
            while len(done) < wanted:
                batch = [sample for _, sample in zip(range(min(64, wanted - len(done))), samples, strict=False)]
                if not batch:
                    told = f"the teacher's replies to {len(queue)} rows gave {len(done)} good ones, not {wanted}"
                    raise DataError(f"{told}; faults: {tally.faults_told()}")
                replies = list(pool.map(lambda one: self._reply(one, journal), batch))
                if all(taught.fault == NO_SCORES for taught in replies):
                    raise TeacherError(
                        f"{NO_SCORES} to any of {len(batch)} replies; what is done is kept, run the same again"
                    )
                for sample, taught in zip(batch, replies, strict=True):
                    if taught.reply is None:
                        tally.faults[taught.fault or "none given"] += 1
                    else:
                        done.append((sample, taught.reply))
                self.progress("sft", len(done), wanted)
        return done

    def _reply(self, sample: Sample, journal: Journal) -> Taught:
        judged_by = "" if self.judge is None else f"{self.judge.name} {self.judge.least}"
        row, prompt = sample.shown.row.model_dump_json(), sample.prompt.model_dump_json()
        key = task_key(self.teacher.name, self.toolkit.hash, judged_by, row, prompt)
        found = journal.found(key)
        if found is not None:
            return found
        task = Task(sample.shown, sample.prompt.prompt, tuple(self.folder / path for path in sample.prompt.images))
        taught = self.teacher.write(task)
        if taught.reply is not None and self.judge is not None:
            fault = self.judge.fault(task, taught.reply)
            if fault == NO_SCORES:
                # Not kept: the judge may answer another time.
                return Taught(None, fault)
            taught = taught if fault is None else Taught(None, fault)
        journal.add(key, taught)
        return taught

    def _pairs(self, taught: Sequence[tuple[Sample, str]], wanted: int) -> Iterator[DpoRow]:
        """Yield pairs: the same number for each reply, of the kinds that were rarest so far, so that all become equally common."""
        made: Counter[Corruption] = Counter()
        yielded = 0
        for number, (sample, reply) in enumerate(taught):
            due = round(wanted * (number + 1) / len(taught)) - yielded
            case = self._case(sample, reply, taught[(number + 1) % len(taught)][0])
            rng = Random(f"{self.seed} {sample.prompt.uid}")
            for kind in sorted(Corruption, key=lambda kind: (made[kind], rng.random())):
                rejected = corrupt(kind, case, rng) if due > 0 else None
                if rejected is not None:
                    made[kind] += 1
                    yielded += 1
                    due -= 1
                    shared = {**_shared(sample), "uid": f"dpo:{sample.shown.row.uid}#{kind}"}
                    yield DpoRow(**shared, chosen=reply, rejected=rejected, corruption=kind)
            self.progress("dpo", yielded, wanted)

    def _case(self, sample: Sample, reply: str, other: Sample) -> Case:
        read = parse(reply, self.toolkit).reply
        if read is None:
            raise AssertionError(f"{sample.prompt.uid}: a verified reply cannot be read")
        said = (
            part.text for message in sample.prompt.prompt for part in message.content if isinstance(part, TextContent)
        )
        shown = sample.shown
        return Case(shown.row, shown.form, "\n".join(said), read, self.toolkit, other.shown.row.text)

    def _exam(self, sample: Sample, tally: Tally, part: Part) -> GrpoRow:
        row = sample.shown.row
        tally.add(part, sample.prompt, sample.manner, row.expected[0])
        return GrpoRow(**_shared(sample), expected=row.expected, answer=row.answer, category=judgement_of(row).category)

    def _told(self, samples: Iterable[Sample], part: Part, wanted: int) -> Iterator[Sample]:
        for number, sample in enumerate(samples, 1):
            yield sample
            self.progress(part, number, wanted)

    def _write(self, part: Part, rows: Iterable[Prompt]) -> None:
        file = self.folder / f"{part}.jsonl"
        unfinished = file.with_suffix(".unfinished")
        with unfinished.open("w", encoding="utf-8") as lines:
            lines.writelines(row.model_dump_json() + "\n" for row in rows)
        unfinished.replace(file)


def _shared(sample: Sample) -> dict[str, Any]:
    return {name: getattr(sample.prompt, name) for name in Prompt.model_fields}
