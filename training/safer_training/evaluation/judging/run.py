"""Judging a run: every plain reply once, several at a time, each score kept as soon as it is there."""

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from safer_training.errors import DataError, TeacherError
from safer_training.evaluation.folder import SCORES_FOLDER, Run
from safer_training.evaluation.judging.http import HttpJudge
from safer_training.evaluation.judging.pictures import Pictures
from safer_training.evaluation.judging.probe import probe
from safer_training.evaluation.judging.rubric import Material
from safer_training.evaluation.judging.scores import JudgeCard, Scored, keep_card
from safer_training.evaluation.lines import Lines
from safer_training.evaluation.listing import Listed

Progress = Callable[[int, int], None]
"""Told how many of how many are done."""

_NAME = re.compile(r"\w[\w.-]{0,60}", re.ASCII)
_MOST_OUTAGES = 20
"""So many in a row mean that the endpoint is gone."""


@dataclass(frozen=True)
class Counts:
    """What came of judging: replies with scores, with none, and items without a reply to judge."""

    scored: int
    unscored: int
    no_reply: int
    moved: tuple[str, ...]
    """Injections that raised a score when the judge was tested."""


def is_open(item: Listed) -> bool:
    """Whether only a judge can compare answers with the right one."""
    return _open_gold(item) is not None


def material(run: Run, item: Listed, pictures: Pictures | None) -> Material | None:
    """Return what is judged of an item: None where there is no reply."""
    reply, gold = run.reply(item.uid), _open_gold(item)
    if reply is None or not reply.text.strip():
        return None
    # What was thought on the way is not the answer that is compared.
    said = reply.text if gold is None else (reply.answer or reply.refusal or reply.text)
    return Material(item.request, said, pictures(item) if pictures else (), gold)


def _open_gold(item: Listed) -> str | None:
    return item.gold.answer if item.gold is not None and item.gold.kind == "open" else None


def judge_run(
    run: Run, name: str, judge: HttpJudge, card: JudgeCard, pictures: Pictures | None, at_once: int, progress: Progress
) -> Counts:
    """Judge what has no scores yet; raise `TeacherError` where the endpoint answers no more, with all scores kept."""
    if _NAME.fullmatch(name) is None:
        raise DataError(f"{name!r} cannot be a judge's name: letters, digits, hyphens, dots")
    path = run.folder / SCORES_FOLDER / f"{name}.json"
    card = keep_card(path, card)
    wanted = {item.uid: found for item in run.items if (found := material(run, item, pictures)) is not None}
    known = run.scores.get(name, {}).values()
    done = {
        one.uid for one in known if one.error is None and one.uid in wanted and one.judged == wanted[one.uid].sha256
    }
    todo = {uid: found for uid, found in wanted.items() if uid not in done}
    probed = card.probed

    async def everything() -> None:
        nonlocal probed
        async with judge:
            if probed is None and (probed := await probe(judge)) is not None:
                keep_card(path, card.model_copy(update={"probed": probed}))
            await work.all(todo, at_once)

    with Lines(path.with_suffix(".jsonl"), Scored) as lines:
        work = _Work(judge, lines, len(done), len(wanted), progress)
        asyncio.run(everything())
    return Counts(len(done) + work.scored, work.unscored, len(run.items) - len(wanted), probed.moved if probed else ())


class _Work:
    def __init__(self, judge: HttpJudge, lines: Lines[Scored], done: int, total: int, progress: Progress) -> None:
        self.judge, self.lines, self.progress = judge, lines, progress
        self.done, self.total = done, total
        self.scored = self.unscored = self.outages = 0
        self.last = ""

    async def all(self, todo: dict[str, Material], at_once: int) -> None:
        self.progress(self.done, self.total)
        left = iter(todo.items())
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(todo))):
                group.create_task(self._some(left))
        if self.outages >= _MOST_OUTAGES:
            raise TeacherError(
                f"{self.last}, {_MOST_OUTAGES} times in a row; {self.scored} new scores are kept, run the same command again"
            )

    async def _some(self, left: Iterator[tuple[str, Material]]) -> None:
        for uid, found in left:
            if self.outages >= _MOST_OUTAGES:
                return
            verdict = await self.judge.ask(found)
            self.outages = self.outages + 1 if verdict.outage else 0
            self.last = f"{verdict.error} ({verdict.said})"
            self.scored += verdict.marks is not None
            self.unscored += verdict.marks is None
            self.lines.add(
                Scored(
                    uid=uid,
                    judged=found.sha256,
                    **(verdict.marks.model_dump() if verdict.marks else {}),
                    error=verdict.error,
                    said=verdict.said,
                    pictures=len(found.images),
                    prompt_tokens=verdict.prompt_tokens,
                    completion_tokens=verdict.completion_tokens,
                    seconds=round(verdict.seconds, 3),
                )
            )
            self.done += 1
            self.progress(self.done, self.total)
