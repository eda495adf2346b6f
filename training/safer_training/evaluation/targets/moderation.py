"""Any `/v1/moderations` as a target: a classifier, which flags the last message or lets it pass."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from safer_protocol.decision import Decision
from safer_training.errors import PictureError
from safer_training.evaluation.manifest import TargetCard
from safer_training.evaluation.question import Question
from safer_training.evaluation.replies import Reply
from safer_training.evaluation.targets.client import client_for, faults_told, protocol_hash, public, read, served_model
from safer_training.evaluation.targets.messages import last_parts
from safer_training.evaluation.targets.target import one_by_one

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class Result(BaseModel):
    """What is read of a result."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    flagged: bool
    category_scores: dict[str, float | None]


class Results(BaseModel):
    """What is read of a moderation."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    results: tuple[Result, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Moderation:
    """A model that classifies."""

    client: "AsyncOpenAI"
    card: TargetCard
    seconds: float
    at_once: int

    def batches(self, questions: Sequence[Question]) -> Iterable[Sequence[Question]]:
        """Ask every question by itself."""
        return one_by_one(questions)

    async def reply(self, batch: Sequence[Question]) -> Sequence[Reply]:
        """Have a message classified."""
        return [await self._ask(question) for question in batch]

    async def _ask(self, question: Question) -> Reply:
        try:
            parts = last_parts(question)
        except PictureError as error:
            return Reply(uid=question.uid, variant=question.variant, error=str(error))
        started = time.monotonic()
        with faults_told(self.seconds):
            async with asyncio.timeout(self.seconds):
                found = await self.client.moderations.create(model=self.card.model or "", input=parts)
            results = read(Results, found).results
        seconds = time.monotonic() - started
        flagged = any(result.flagged for result in results)
        scores = [score for result in results for score in result.category_scores.values() if score is not None]
        return Reply(
            uid=question.uid,
            variant=question.variant,
            decision=Decision.REFUSE if flagged else Decision.ALLOW,
            # A flag of a category that the API has no name for comes without a score.
            risk=max(scores, default=0.0) or float(flagged),
            seconds=seconds,
            decision_seconds=seconds,
        )


@asynccontextmanager
async def open_moderation(url: str, model: str | None, *, seconds: float, at_once: int) -> AsyncIterator[Moderation]:
    """Find out what an endpoint serves; raise `TargetError` where it does not answer."""
    async with client_for(url, seconds) as client:
        served = await served_model(client, url, model, seconds)
        card = TargetCard(
            kind="moderations",
            name=f"{served}, moderations",
            model=served,
            endpoint=public(url),
            protocol_hash=await protocol_hash(client, seconds),
        )
        yield Moderation(client, card, seconds, at_once)
