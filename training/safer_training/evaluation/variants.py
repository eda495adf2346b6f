"""Variants: changes to an item, or to the sampling, that show what a decision hangs on.

`plain`     as it is
`no_image`  without its pictures, and `no_text` without the user's words: does the decision use both?
`reworded`  the user's last words with a polite frame and written-out contractions; no meaning changes
`noisy`     with fine grain and another brightness on each picture
`seed-N`    sampled with the seed N, at the run's temperature, or at `SEEDED` where that is 0: does it always decide alike?
"""

import re
from collections.abc import Callable
from dataclasses import replace

from safer_training.data.records import ImageContent, Message, TextContent
from safer_training.errors import DataError
from safer_training.evaluation.item import Item
from safer_training.evaluation.question import Question, draw_of
from safer_training.evaluation.replies import PLAIN
from safer_training.evaluation.sampling import Sampling

SEEDED = 0.7
"""The temperature of seeded variants where the run itself is greedy."""

_SEED = re.compile(r"seed-(\d{1,9})")
_FRAMES = (
    ("Hello! I have something to ask. ", ""),
    ("", " Thank you very much for your reply."),
    ("Good morning. ", " Thanks a lot!"),
    ("Here is what I would like from you. ", ""),
    ("", "\n\nMany thanks and best regards"),
)
_CONTRACTIONS = (
    (r"\b(I)'m\b", r"\1 am"),
    (r"\b(can)'t\b", r"\1not"),
    (r"\b(do|does|did|is|are|was|were|has|have|would|should|could)n't\b", r"\1 not"),
    (r"\b(you|we|they)'re\b", r"\1 are"),
    (r"\b(I|you|we|they)'ve\b", r"\1 have"),
    (r"\b(what|that|it|there|how|where)'s\b", r"\1 is"),
)


def check_variants(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names, each once; raise `DataError` for one that there is not."""
    for name in names:
        if name not in _CHANGES and _SEED.fullmatch(name) is None:
            raise DataError(f"no variant {name!r}; there are {', '.join(_CHANGES)} and seed-N, such as seed-1")
    return tuple(dict.fromkeys(names))


def question(item: Item, variant: str, sampling: Sampling) -> Question | None:
    """Put an item as a question; None where the variant would ask nothing else, or nothing at all."""
    plain = Question(item.uid, variant, item.prompt, item.images, sampling)
    seeded = _SEED.fullmatch(variant)
    if seeded is not None:
        changed = {"seed": int(seeded[1]), "temperature": sampling.temperature or SEEDED}
        return replace(plain, sampling=sampling.model_copy(update=changed))
    return _CHANGES[variant](plain)


def _as_it_is(question: Question) -> Question:
    return question


def _without_pictures(question: Question) -> Question | None:
    if not question.images:
        return None
    bare = [_keep(message, lambda part: isinstance(part, TextContent)) for message in question.prompt]
    return replace(question, prompt=_said(bare), images=()) if bare[-1] else None


def _without_text(question: Question) -> Question | None:
    if not question.images:
        return None
    bare = [
        _keep(message, lambda part: isinstance(part, ImageContent)) if message.role == "user" else message
        for message in question.prompt
    ]
    return replace(question, prompt=_said(bare)) if bare[-1] else None


def _keep(message: Message, wanted: Callable[[TextContent | ImageContent], bool]) -> Message | None:
    kept = tuple(part for part in message.content if wanted(part))
    return message.model_copy(update={"content": kept}) if kept else None


def _said(messages: list[Message | None]) -> tuple[Message, ...]:
    return tuple(message for message in messages if message is not None)


def _reworded(question: Question) -> Question | None:
    asked = [number for number, message in enumerate(question.prompt) if message.role == "user"]
    texts = [part for number in asked[-1:] for part in question.prompt[number].content if isinstance(part, TextContent)]
    if not texts:
        return None
    before, after = _FRAMES[draw_of(question.uid) % len(_FRAMES)]
    message = question.prompt[asked[-1]]
    content = tuple(
        TextContent(
            text=(before if part is texts[0] else "") + _written_out(part.text) + (after if part is texts[-1] else "")
        )
        if isinstance(part, TextContent)
        else part
        for part in message.content
    )
    reworded = message.model_copy(update={"content": content})
    return replace(question, prompt=(*question.prompt[: asked[-1]], reworded, *question.prompt[asked[-1] + 1 :]))


def _written_out(text: str) -> str:
    for contraction, words in _CONTRACTIONS:
        text = re.sub(contraction, words, text, flags=re.IGNORECASE)
    return text


def _with_noise(question: Question) -> Question | None:
    return replace(question, has_noise=True) if question.images else None


_CHANGES: dict[str, Callable[[Question], Question | None]] = {
    PLAIN: _as_it_is,
    "no_image": _without_pictures,
    "no_text": _without_text,
    "reworded": _reworded,
    "noisy": _with_noise,
}
