"""The scripted engine: deterministic, without a model; for tests, load runs and demonstrations of the API.

A script says what to write for a request, and what goes wrong meanwhile. The one that ships is
`safer_server.engines.markers.by_markers`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass

from safer_protocol.reply import Reply
from safer_protocol.text import ANSWER_CLOSE, ANSWER_OPEN, print_reply
from safer_protocol.toolkit import Toolkit
from safer_server.engines.base import (
    ConstraintMode,
    EngineError,
    EngineRequest,
    FinishReason,
    Origin,
    Piece,
    ReplicaStatus,
)
from safer_server.engines.markers import by_markers

ORIGIN = Origin("0", ConstraintMode.NONE)


@dataclass(frozen=True)
class Take:
    """What to write, and what goes wrong: a fault happens before the piece of that number, counted from 0."""

    text: str
    stop_at: int | None = None
    """End there, as if that were all."""
    raise_at: int | None = None
    """Raise `error` there."""
    error: type[Exception] = EngineError
    wait_at: int | None = None
    """Wait there until `event` is set."""
    event: asyncio.Event | None = None


Script = Callable[[EngineRequest], Take | Reply | str]


class ScriptedEngine:
    """Writes what its script says, `characters` at a time, each piece counted as one token."""

    name = "scripted"

    def __init__(
        self,
        script: Script | None = None,
        *,
        model: str = "scripted",
        characters: int = 4,
    ) -> None:
        self.model = model
        self.up = True
        """Whether its one replica says that it is up."""
        self.cancelled = 0
        """How many replies were closed before their end."""
        self.requests: list[EngineRequest] = []
        self._script = script or by_markers
        self._characters = characters

    async def stream(self, request: EngineRequest) -> AsyncGenerator[Piece, None]:
        """Yield the scripted reply."""
        self.requests.append(request)
        take = _take(self._script(request), request.toolkit)
        text, finish = self._limit(take.text, request.sampling.answer_tokens)
        ended = False
        try:
            prompt_tokens = sum(len(turn.parts) + len(turn.text.split()) for turn in request.turns)
            yield Piece("", prompt_tokens=prompt_tokens, origin=ORIGIN)
            for number, start in enumerate(range(0, len(text) + self._characters, self._characters)):
                await asyncio.sleep(0)
                if number == take.wait_at and take.event is not None:
                    await take.event.wait()
                if number == take.raise_at:
                    ended = True
                    raise take.error("scripted fault")
                if number == take.stop_at:
                    ended = True
                    return
                piece = text[start : start + self._characters]
                if piece:
                    yield Piece(piece, tokens=1)
            yield Piece("", finish=finish)
            ended = True
        finally:
            self.cancelled += not ended

    def _limit(self, text: str, answer_tokens: int) -> tuple[str, FinishReason]:
        """Close an answer that is too long, as every engine does."""
        head, opening, answer = text.partition(f"{ANSWER_OPEN}\n")
        longest = answer_tokens * self._characters
        if len(answer.partition(f"\n{ANSWER_CLOSE}")[0]) <= longest:
            return text, "stop"
        return f"{head}{opening}{answer[:longest]}\n{ANSWER_CLOSE}\n", "length"

    async def start(self) -> None:
        """Nothing to watch."""

    def replicas(self) -> tuple[ReplicaStatus]:
        """The one script; nothing constrains it."""
        return (ReplicaStatus(ORIGIN.replica, self.up, ORIGIN.constraint),)

    async def close(self) -> None:
        """Nothing to release."""


def _take(scripted: Take | Reply | str, toolkit: Toolkit) -> Take:
    match scripted:
        case Take():
            return scripted
        case Reply():
            return Take(print_reply(scripted, toolkit))
        case str():
            return Take(scripted)


def table(replies: Mapping[str, Take | Reply | str], otherwise: Script = by_markers) -> Script:
    """Make a script that looks the user's last message up; `otherwise` decides on other messages."""

    def script(request: EngineRequest) -> Take | Reply | str:
        known = replies.get(request.turns[-1].text)
        return otherwise(request) if known is None else known

    return script
