"""Whether an answer is the gold one, without a judge: what it says is read by rule, and nothing unclear counts as right.

Where an answer says several things, the last one that it names as its answer counts ("the answer is B"), then the one it
begins with, then the only one there is. A choice or a yes and no that contradict each other are wrong; of several numbers without
such words the last counts, as is usual.
"""

import re
from collections.abc import Iterator
from math import isclose
from string import ascii_uppercase

from safer_training.evaluation.item import Gold

_NUMBER = r"-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+|(?=\.\d))(?:\.\d+)?(?:[eE][+-]?\d+)?(?:\s?/\s?\d+)?"
_NAMED = r"(?:answer|result|choice|option)(?:\s+(?:is|would be|must be|should be))?\s*[:=]?\s*"
_COUNTED = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|"
    "nineteen|twenty"
)
_YES, _NO = ("yes", "true"), ("no", "false")
_NEGATED = frozenset(("not", "no", "isn", "never", "without", "neither", "nor"))
_ARTICLES = re.compile(r"\b(?:a|[Aa]n|[Tt]he)\b|^\W*A(?=\s+[a-z])")


def gold_of(answer: str) -> Gold:
    """Return a gold answer with its kind, from how it is written."""
    text = answer.strip()
    if text.lower() in (*_YES, *_NO):
        return Gold("yes" if text.lower() in _YES else "no", "yes_no")
    if re.fullmatch(_NUMBER, text):
        return Gold(text, "number")
    return Gold(text, "text")


def right(gold: Gold, answer: str) -> bool | None:
    """Say whether an answer is right; None where only a judge can tell."""
    said = _plain(answer)
    match gold.kind:
        case "choice":
            return _chosen(said, gold.choices) == gold.answer.strip().upper()
        case "number":
            return _equal(_number(said), gold.answer)
        case "yes_no":
            return _yes_or_no(said) == gold.answer
        case "text":
            return any(_lists(said, w) if w.startswith("[") else _says(said, w) for w in gold.answer.split(" | "))
        case "open":
            return None


def _plain(answer: str) -> str:
    """Leave out what Markdown and LaTeX put around an answer."""
    text = re.sub(r"\\(?:boxed|text|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1", answer.replace("\u2212", "-"))
    return re.sub(r"[*_`$]+", "", text).strip()


def _chosen(text: str, choices: tuple[str, ...]) -> str | None:
    """Return the letter that is chosen, or None."""
    upper = ascii_uppercase[: len(choices)] if choices else ascii_uppercase[:10]
    either = upper + upper.lower()
    one = rf"(?:[(\[{{]([{either}])[)\]}}]|([{upper}])(?![\w'])|([{upper.lower()}])(?=\W*$))"
    named = list(re.finditer(rf"(?i:{_NAMED}){one}", text))
    if named:
        last = named[-1]
        hedged = re.match(rf"\s*(?:,|/|or\b|and\b)\s*\(?[{upper}]\b", text[last.end() : last.end() + 20])
        return None if hedged else next(filter(None, last.groups())).upper()
    opening = re.match(rf"[(\[]?([{either}])[)\]]?(?:[.):;\n]|\s*$)", text)
    if opening:
        return opening[1].upper()
    said = {letter: choice for letter, choice in zip(ascii_uppercase, choices, strict=False) if _says(text, choice)}
    # A choice that is part of another one that is said as well, such as "10" of "10 metres", is not meant.
    by_words = {
        letter
        for letter, choice in said.items()
        if not any(_says(other, choice) and words(other) != words(choice) for other in said.values())
    }
    bracketed = set(re.findall(rf"(?<!not )\(([{upper}])\)", text))
    # "A" and "I" are words as well, unless nothing follows them in the sentence or one of these words does.
    alone = rf"(?<!not )\b([{upper}])\b(?![\w']|\s+(?!is\b|or\b|and\b)[a-z]|\s+is\s+(?:wrong|not|incorrect)\b)"
    for found in (bracketed, by_words, set(re.findall(alone, text))):
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _number(text: str) -> float | None:
    """Return the number that is named as the answer, else the one it is or begins with, else the last one."""
    text = re.sub(rf"(?i)\b(?:{_COUNTED})\b", lambda word: str(_COUNTED.split("|").index(word[0].lower())), text)
    named = re.findall(rf"(?i){_NAMED}[^\w\n.-]{{0,3}}({_NUMBER})", text)
    opening = re.match(rf"({_NUMBER})\s?(?:[^\W\d]+|%|°)?\s*(?:$|[\n.;:(])", text)
    found = named or ([opening[1]] if opening else re.findall(rf"(?<![\w.])(?<!not ){_NUMBER}", text))
    return _value(found[-1]) if found else None


def _value(text: str) -> float | None:
    above, _, below = text.replace(",", "").partition("/")
    if below and float(below) == 0:
        return None
    return float(above) / (float(below) if below else 1.0)


def _equal(said: float | None, gold: str) -> bool:
    """Compare to the places that the gold answer is written with; whole numbers must be equal."""
    wanted = _value(gold.strip())
    if said is None or wanted is None:
        return False
    places = re.search(r"\.(\d+)$", gold.strip())
    return isclose(said, wanted, rel_tol=1e-9, abs_tol=0.5 * 10 ** -len(places[1]) + 1e-9 if places else 1e-9)


def _yes_or_no(text: str) -> str | None:
    said = words(text)
    named = re.findall(rf"(?i){_NAMED}(yes|no|true|false)\b", text)
    if named:
        return _meaning(named[-1].lower())
    if said and said[0] in (*_YES, *_NO):
        return _meaning(said[0])
    found = set(_meanings(said))
    return found.pop() if len(found) == 1 else None


def _meaning(word: str) -> str:
    return "yes" if word in _YES else "no"


def _meanings(said: list[str]) -> Iterator[str]:
    for before, word in zip(["", *said], said, strict=False):
        if word in ("true", "false") and before in _NEGATED:
            yield "no" if word == "true" else "yes"
        elif word in ("yes", "true", "false"):
            yield _meaning(word)
        elif word in ("no", "not"):
            yield "no"


def _lists(text: str, wording: str) -> bool:
    """Whether the last list in brackets is the wanted one."""
    found = re.findall(r"\[[^\[\]]*\]", text)
    return bool(found) and words(found[-1]) == words(wording)


def _says(text: str, wording: str) -> bool:
    """Whether the words occur in a row, and no negation stands before them."""
    said, wanted = words(text), words(wording)
    if not wanted:
        return False
    for at in range(len(said) - len(wanted) + 1):
        if said[at : at + len(wanted)] == wanted and not _NEGATED & set(said[max(0, at - 2) : at]):
            return True
    return False


def words(text: str) -> list[str]:
    """Return the words in lower case, without punctuation and articles; a text of articles alone stays as it is."""
    found, every = (re.findall(r"[^\W_]+(?:\.\d+)?", one.lower()) for one in (_ARTICLES.sub(" ", text), text))
    return found or every
