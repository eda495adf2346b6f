"""Any OpenAI-compatible server as a target: the guard, a stock vLLM, a hosted model."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openai import APIStatusError

from safer_protocol.decision import Decision
from safer_protocol.toolkit import Toolkit
from safer_training.errors import PictureError, TargetError
from safer_training.evaluation.declining import RULE
from safer_training.evaluation.manifest import TargetCard
from safer_training.evaluation.question import Question
from safer_training.evaluation.replies import Reply
from safer_training.evaluation.targets.client import client_for, faults_told, protocol_hash, public, read, served_model
from safer_training.evaluation.targets.messages import messages
from safer_training.evaluation.targets.stream import Chunk, Received
from safer_training.evaluation.targets.target import one_by_one

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_JUDGES_NO_REPLIES = "this target judges no replies: use a guard or --moderations"


@dataclass(frozen=True)
class Endpoint:
    """A model behind an endpoint."""

    client: "AsyncOpenAI"
    card: TargetCard
    toolkit: Toolkit
    seconds: float
    at_once: int

    def batches(self, questions: Sequence[Question]) -> Iterable[Sequence[Question]]:
        """Ask every question by itself."""
        return one_by_one(questions)

    async def reply(self, batch: Sequence[Question]) -> Sequence[Reply]:
        """Ask a question."""
        return [await self._ask(question) for question in batch]

    async def _ask(self, question: Question) -> Reply:
        if question.judges_reply and self.card.protocol_hash is None:
            return Reply(uid=question.uid, variant=question.variant, error=_JUDGES_NO_REPLIES)
        try:
            body = self._body(question)
        except PictureError as error:
            return Reply(uid=question.uid, variant=question.variant, error=str(error))
        received = Received()
        try:
            with faults_told(self.seconds):
                async with (
                    asyncio.timeout(self.seconds),
                    await self.client.chat.completions.create(**body) as stream,
                ):
                    async for chunk in stream:
                        received.add(read(Chunk, chunk))
        except TargetError as error:
            if _is_filtered(error):
                return _filtered(question, str(error), received.seconds)
            raise
        if received.finish_reason is None:
            raise TargetError("the reply ended before its end")
        return received.reply(question.uid, question.variant, self.toolkit)

    def _body(self, question: Question) -> dict[str, Any]:
        sampling = question.sampling
        extra = dict(sampling.extra)
        if question.judges_reply:
            extra["safer"] = {**extra.get("safer", {}), "mode": "check"}
        optional = {"top_p": sampling.top_p if sampling.top_p < 1 else None, "seed": sampling.seed}
        return {
            "model": self.card.model,
            "messages": messages(question),
            "temperature": sampling.temperature,
            "max_completion_tokens": sampling.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "extra_body": extra,
            **{key: value for key, value in optional.items() if value is not None},
        }


def _is_filtered(error: TargetError) -> bool:
    """Whether a filter before the model has refused, which some servers say by a status of their own."""
    cause = error.__cause__
    return isinstance(cause, APIStatusError) and cause.status_code == 400 and cause.code == "content_filter"


def _filtered(question: Question, said: str, seconds: float) -> Reply:
    return Reply(
        uid=question.uid,
        variant=question.variant,
        refusal=said,
        finish_reason="content_filter",
        decision=Decision.REFUSE,
        seconds=seconds,
        decision_seconds=seconds,
    )


@asynccontextmanager
async def open_endpoint(
    url: str, model: str | None, toolkit: Toolkit, *, seconds: float, at_once: int
) -> AsyncIterator[Endpoint]:
    """Find out what an endpoint serves; raise `TargetError` where it does not answer."""
    async with client_for(url, seconds) as client:
        served = await served_model(client, url, model, seconds)
        protocol = await protocol_hash(client, seconds)
        card = TargetCard(
            kind="endpoint",
            name=served,
            model=served,
            endpoint=public(url),
            protocol_hash=protocol,
            refusal_rule=RULE if protocol is None else None,
        )
        yield Endpoint(client, card, toolkit, seconds, at_once)
