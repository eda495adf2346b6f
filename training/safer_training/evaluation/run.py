"""A run: every question of a suite asked once, and every reply written down as soon as it is there.

1. What an earlier run has left is read; questions with a reply are done, those with an error are asked again.
2. As many workers as the target takes batches at once share what is left.
3. A reply, or why there is none, is a line on disk before the next batch is taken. So it may be killed at any time.
4. A target that replies to nobody, `HOPELESS` times in a row, ends the run: what was not asked yet is asked on resuming.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from safer_training.errors import TargetError, TargetGoneError
from safer_training.evaluation.item import Item
from safer_training.evaluation.lines import Lines
from safer_training.evaluation.question import Question
from safer_training.evaluation.replies import Reply
from safer_training.evaluation.sampling import Sampling
from safer_training.evaluation.targets.target import Target
from safer_training.evaluation.variants import question

HOPELESS = 10
"""Batches in a row that find nobody, after which a run is stopped."""


@dataclass
class Progress:
    """How far a run is."""

    wanted: int
    replied: int = 0
    errors: int = 0
    asked: int = 0
    """Questions that were asked this time."""
    kinds: dict[str, int] = field(default_factory=dict)
    """How often each error was met."""

    def count(self, reply: Reply) -> None:
        """Count a reply."""
        self.asked += 1
        if reply.error is None:
            self.replied += 1
        else:
            self.errors += 1
            self.kinds[reply.error] = self.kinds.get(reply.error, 0) + 1


def questions(items: Sequence[Item], variants: Sequence[str], sampling: Sampling) -> list[Question]:
    """Put every item in every variant that applies to it, a variant after the other."""
    return [asked for variant in variants for item in items if (asked := question(item, variant, sampling)) is not None]


async def run(
    asked: Sequence[Question], target: Target, replies: Lines[Reply], told: Callable[[Progress], None]
) -> Progress:
    """Ask what has no reply yet; raise `TargetGoneError` where the target is gone."""
    done = {(reply.uid, reply.variant) for reply in _latest(replies.found) if reply.error is None}
    left = [question for question in asked if (question.uid, question.variant) not in done]
    asking = _Asking(target, replies, Progress(len(asked), len(asked) - len(left)), told)
    told(asking.progress)
    batches = iter(target.batches(left))
    workers = [asyncio.ensure_future(asking.work(batches)) for _ in range(target.at_once)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return asking.progress


def _latest(replies: Sequence[Reply]) -> Sequence[Reply]:
    return list({(reply.uid, reply.variant): reply for reply in replies}.values())


@dataclass
class _Asking:
    target: Target
    replies: Lines[Reply]
    progress: Progress
    told: Callable[[Progress], None]
    in_vain: int = 0

    async def work(self, batches: Iterator[Sequence[Question]]) -> None:
        """Take batches until there is none left."""
        for batch in batches:
            try:
                replies = await self.target.reply(batch)
                self.in_vain = 0
            except TargetError as error:
                replies = [Reply(uid=one.uid, variant=one.variant, error=str(error)) for one in batch]
                self.in_vain = self.in_vain + 1 if isinstance(error, TargetGoneError) else 0
            for reply in replies:
                self.replies.add(reply)
                self.progress.count(reply)
            self.told(self.progress)
            # A target that computes in this thread never waits; here an interruption may come in.
            await asyncio.sleep(0)
            if self.in_vain >= HOPELESS:
                raise TargetGoneError(
                    f"{self.target.card.name} replies no more: {replies[-1].error}. {self.progress.replied} of "
                    f"{self.progress.wanted} questions have a reply; give the same command again to go on."
                )
