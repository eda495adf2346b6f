"""A judge behind an OpenAI-compatible endpoint: scores, or the reason why there are none, and what it took."""

import os
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError

from safer_training.evaluation.judging.rubric import Correct, Marks, Material, messages

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

TRIES = 3
"""As in the paper."""
_MOST_TOKENS = 4096
"""Enough for a judge that thinks before it answers."""
_KEPT = 300


@dataclass(frozen=True)
class Verdict:
    """What became of one question to a judge."""

    marks: Marks | Correct | None
    error: str | None = None
    said: str | None = None
    outage: bool = False
    """Whether the endpoint failed, rather than the answer."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


@dataclass
class HttpJudge:
    """A model that scores replies; the key, where one is needed, is read from `OPENAI_API_KEY`."""

    url: str
    model: str
    temperature: float | None = 0.0
    """None leaves it to the server: some hosted models take no other than their own."""
    timeout: float = 120.0
    """Seconds a try."""
    tries: int = TRIES
    _client: Any = field(default=None, init=False, repr=False)

    async def ask(self, material: Material) -> Verdict:
        """Ask until there are scores or the tries are used up."""
        from openai import OpenAIError

        began, spent_in, spent_out = time.monotonic(), 0, 0
        try:
            asked = messages(material)
        except OSError as error:
            return Verdict(None, f"a picture cannot be read: {type(error).__name__}")
        verdict = Verdict(None, "not asked")
        for _ in range(self.tries):
            try:
                answer = await self._complete(asked, material.wanted)
            except OpenAIError as error:
                # The client has tried again by itself where that could help.
                verdict = Verdict(None, f"the judge's endpoint: {_reason(error)}", str(error)[:_KEPT], outage=True)
                break
            if answer.usage is not None:
                spent_in += answer.usage.prompt_tokens
                spent_out += answer.usage.completion_tokens
            verdict = read_answer(answer, material.wanted)
            if verdict.marks is not None:
                break
        return Verdict(
            **{
                **vars(verdict),
                "prompt_tokens": spent_in,
                "completion_tokens": spent_out,
                "seconds": time.monotonic() - began,
            }
        )

    async def _complete(self, asked: list[dict[str, Any]], wanted: type[Marks | Correct]) -> "ChatCompletion":
        schema = {"name": "scores", "strict": True, "schema": wanted.model_json_schema()}
        heat = {} if self.temperature is None else {"temperature": self.temperature}
        answer: ChatCompletion = await self._client.chat.completions.create(
            model=self.model,
            messages=asked,
            max_completion_tokens=_MOST_TOKENS,
            response_format={"type": "json_schema", "json_schema": schema},
            **heat,
        )
        return answer

    async def __aenter__(self) -> Self:
        from openai import AsyncOpenAI

        key = os.environ.get("OPENAI_API_KEY") or "none"
        self._client = AsyncOpenAI(base_url=self.url, api_key=key, timeout=self.timeout, max_retries=self.tries - 1)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self._client.close()


def read_answer(answer: "ChatCompletion", wanted: type[Marks | Correct]) -> Verdict:
    """Read an answer that consists of the scores alone; anything else is none."""
    if not answer.choices:
        return Verdict(None, "the judge answered nothing")
    message = answer.choices[0].message
    if not message.content:
        return Verdict(None, "the judge declined" if message.refusal else "the judge answered nothing", message.refusal)
    try:
        return Verdict(wanted.model_validate_json(message.content))
    except ValidationError:
        return Verdict(None, "the judge's answer is no scores", message.content[:_KEPT])


def _reason(error: Exception) -> str:
    """Name a fault without its text, so that faults of one kind are counted together."""
    status = getattr(error, "status_code", None)
    return type(error).__name__ if status is None else f"{type(error).__name__} {status}"
