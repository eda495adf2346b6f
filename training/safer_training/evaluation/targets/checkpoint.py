"""A checkpoint in this process as a target: under the mask machine or unconstrained, many questions at a time."""

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from safer_protocol.errors import ProtocolError
from safer_protocol.prompt import ImagePart, Turn
from safer_protocol.toolkit import Toolkit
from safer_training.data.records import Message, TextContent
from safer_training.errors import DataError, PictureError
from safer_training.evaluation.declining import RULE
from safer_training.evaluation.manifest import TargetCard
from safer_training.evaluation.question import Question, draw_of
from safer_training.evaluation.replies import Reply
from safer_training.evaluation.sampling import Sampling
from safer_training.evaluation.targets.pens import Free, Masked, Pen, Reach
from safer_training.evaluation.targets.target import alike
from safer_training.evaluation.targets.written import is_protocol, of_protocol, of_words
from safer_training.replies import Writer
from safer_training.stamp import STAMP_FILE

BATCH = 16


class Checkpoint:
    """A checkpoint of this protocol; also one of none, such as a stock Qwen2.5-VL, which then is an untrained model."""

    at_once = 1

    def __init__(self, folder: Path, toolkit: Toolkit, *, constrained: bool = True) -> None:
        """Load it; raise `DataError` where there is none, `ProtocolMismatchError` for one of another protocol."""
        if not (folder / "config.json").is_file():
            raise DataError(f"{folder} is no checkpoint: it has no config.json")
        stamped = (folder / STAMP_FILE).is_file()
        try:
            self._writer = Writer(folder, toolkit, adopt=True)
        except (OSError, ProtocolError) as error:
            raise DataError(f"{folder} cannot be loaded: {error}") from error
        self._toolkit = toolkit
        self._constrained = constrained
        self._speaks_protocol = constrained or stamped
        self.card = TargetCard(
            kind="checkpoint",
            name=folder.name if constrained else f"{folder.name}, unconstrained",
            checkpoint=folder.name,
            revision=weights_hash(folder),
            stage=self._writer.stamp.stage if stamped else None,
            protocol_hash=toolkit.hash if self._speaks_protocol else None,
            constrained=constrained,
            refusal_rule=None if self._speaks_protocol else RULE,
        )

    def batches(self, questions: Sequence[Question]) -> Iterable[Sequence[Question]]:
        """Put like questions together."""
        return alike(questions, BATCH)

    async def reply(self, batch: Sequence[Question]) -> Sequence[Reply]:
        """Write the replies to a batch; whoever interrupts waits for its end."""
        opened: dict[int, list[Any]] = {}
        faults: dict[int, str] = {}
        for number, question in enumerate(batch):
            try:
                opened[number] = question.pictures()
            except PictureError as error:
                faults[number] = str(error)
        asked = [batch[number] for number in opened]
        turns = [tuple(_turns(batch[number].prompt, iter(pictures))) for number, pictures in opened.items()]
        written = dict(zip(opened, self._write(asked, turns), strict=True)) if opened else {}
        return [
            written[number]
            if number in written
            else Reply(uid=question.uid, variant=question.variant, error=faults[number])
            for number, question in enumerate(batch)
        ]

    def _write(self, asked: Sequence[Question], turns: Sequence[tuple[Turn, ...]]) -> list[Reply]:
        started = time.monotonic()
        inputs = self._writer.inputs(turns)
        prompt_tokens = inputs["attention_mask"].sum(-1).tolist()
        pens = [
            Pen(self._reach(one.sampling), one.sampling, draw_of(one.uid, str(one.sampling.seed or 0))) for one in asked
        ]
        ends: list[float | None] = [None] * len(pens)
        steps = self._writer.steps(inputs)
        logits = next(steps)
        while True:
            tokens: list[int | None] = [None] * len(pens)
            for row, pen in enumerate(pens):
                if ends[row] is None:
                    tokens[row] = pen.write(logits[row])
                    ends[row] = time.monotonic() if pen.reach.finished else None
            if None not in ends:
                break
            logits = steps.send(tokens)
        return [
            self._reply(question, pen, count, (end or started) - started, started)
            for question, pen, count, end in zip(asked, pens, prompt_tokens, ends, strict=True)
        ]

    def _reach(self, sampling: Sampling) -> Reach:
        if not self._constrained:
            return Free(self._writer.vocabulary, sampling.max_tokens)
        machine = self._writer.machine
        if sampling.max_tokens < machine.least():
            raise DataError(f"--max-tokens {sampling.max_tokens}: a whole reply needs {machine.least()} at least")
        return Masked(machine.start(limit=sampling.max_tokens))

    def _reply(self, question: Question, pen: Pen, prompt_tokens: int, seconds: float, started: float) -> Reply:
        finish = "length" if pen.reach.cut else "stop"
        if self._speaks_protocol or is_protocol(pen.text):
            fields = of_protocol(pen.text, self._toolkit)
        else:
            fields = of_words(pen.text, "", None, finish)
        return Reply(
            uid=question.uid,
            variant=question.variant,
            finish_reason=finish,
            prompt_tokens=prompt_tokens,
            completion_tokens=pen.tokens,
            seconds=seconds,
            decision_seconds=None if pen.decided_at is None else pen.decided_at - started,
            **fields,
        )


def _turns(prompt: Sequence[Message], pictures: Iterator[Any]) -> Iterator[Turn]:
    for message in prompt:
        parts = tuple(
            part.text if isinstance(part, TextContent) else ImagePart(next(pictures)) for part in message.content
        )
        yield Turn(message.role, parts)


def weights_hash(folder: Path) -> str:
    """SHA-256 of a checkpoint's weights."""
    found = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as content:
            found.update(hashlib.file_digest(content, "sha256").digest())
    return found.hexdigest()
