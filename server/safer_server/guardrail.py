"""LiteLLM's generic guardrail: what it sends as a conversation.

Its rows come from many kinds of API and grow with its versions, so what is unknown here is named as unjudged instead of refused.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from safer_protocol.prompt import Role
from safer_server.case import UnjudgedPart
from safer_server.conversation import Conversation, Said, Utterance
from safer_server.wire.check import GuardrailRequest

_ROLES: Mapping[str, Role] = {"system": "system", "developer": "system", "assistant": "assistant"}
"""What every other role brings, a tool or a document, is judged as if the user had said it."""

_OTHER_WORDS = ("refusal", "function_call", "reasoning_content")
"""Where else a message may say something."""


def of_guardrail(request: GuardrailRequest) -> Conversation:
    """Take the messages where there are any, and whatever of the flattened lists they do not hold.

    A reply comes without the request that it answers. The conversation is empty where there is nothing to judge.
    """
    rows = enumerate(request.structured_messages or ())
    turns = [_utterance(f"structured_messages[{number}]", row) for number, row in rows]
    seen = {said.value for turn in turns for said in turn.parts}
    speaker: Role = "user" if request.input_type == "request" else "assistant"
    loose = [*_unseen("texts", request.texts, seen), *_unseen("tool_calls", map(_json, request.tool_calls or ()), seen)]
    loose += [Said(said.path, "image", said.value) for said in _unseen("images", request.images, seen)]
    tools = [Said(f"tools[{number}]", "text", _json(row)) for number, row in enumerate(request.tools or ())]
    extra = [Utterance("system", tuple(tools)), *turns, Utterance(speaker, tuple(loose))]
    return tuple(turn for turn in extra if turn.parts or turn.unjudged)


def _unseen(name: str, values: Iterable[str] | None, seen: set[str]) -> Iterator[Said]:
    for number, value in enumerate(values or ()):
        if value and value not in seen:
            yield Said(f"{name}[{number}]", "text", value)


def _utterance(at: str, row: Mapping[str, Any]) -> Utterance:
    parts: list[Said] = []
    unjudged: list[UnjudgedPart] = []
    content, calls = row.get("content"), row.get("tool_calls") or []
    for number, item in enumerate(content if isinstance(content, list) else [content]):
        path = f"{at}.content[{number}]" if isinstance(content, list) else f"{at}.content"
        match item:
            case None | "" | {"type": "text", "text": ""}:
                pass
            case str(text) | {"type": "text", "text": str(text)}:
                parts.append(Said(path, "text", text))
            case {"type": "image_url", "image_url": str(url) | {"url": str(url)}}:
                parts.append(Said(path, "image", url))
            case _:
                unjudged.append(UnjudgedPart(path, "other", "this guard reads texts and pictures"))
    parts += [
        Said(f"{at}.tool_calls[{number}]", "text", _json(call))
        for number, call in enumerate(calls if isinstance(calls, list) else [calls])
    ]
    parts += [
        Said(f"{at}.{key}", "text", value if isinstance(value, str) else _json(value))
        for key in _OTHER_WORDS
        if (value := row.get(key))
    ]
    return Utterance(_ROLES.get(str(row.get("role")), "user"), tuple(parts), tuple(unjudged))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
