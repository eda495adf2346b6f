"""Calls that say what is not so: values out of form, observations of what is not there, judgements against the decision."""

import re
from collections.abc import Iterator, Mapping

from safer_protocol.decision import Decision
from safer_protocol.fields import Choice, Field, Flag, Level, Score, Text, Texts, Value
from safer_protocol.tools import VERDICT_KEY, Tool
from safer_protocol.trace import Call
from safer_training import phrases
from safer_training.rows import Row, words
from safer_training.teacher import Form, clip

_BRIEF = 0.5
_SCENES = ("a street at night", "a kitchen table", "a chart with three lines", "two people shaking hands")

Fields = Mapping[str, Value]
AGAINST_REFUSAL: Mapping[str, Fields] = {
    "INTENT-RADAR": {"intent": "benign", "evidence": "a harmless request"},
    "HARM-FORECAST": {"victim": "nobody", "severity": "none", "outcome": "nobody would be harmed"},
    "POLICY-MATCH": {"applies": False, "rule": "no rule applies"},
    "DISTRESS-SENSE": {"distress": "none", "cue": "no sign of distress"},
    "JAILBREAK-SENTINEL": {"technique": "none"},
    "ENTRY-GATE": {"reason": "nothing here is forbidden"},
    "REFUSAL-GENERATOR": {"alternative": "a full answer to the request"},
}
AGAINST_HELP: Mapping[str, Fields] = {
    "INTENT-RADAR": {"intent": "harmful", "evidence": "asks for a crime"},
    "BENIGN-READING": {"reading": "there is no harmless reading", "plausibility": 2},
    "DISTRESS-SENSE": {"distress": "none", "cue": "no sign of distress"},
    "EXPERTISE-BOUNDARY": {"domain": "none", "professional": False},
    "CAUTION-WRITER": {"caution": "no caution is needed"},
    "CLARIFY-PROMPT": {"question": "nothing is unclear"},
}
"""What tools would have to say were the decision another one; of a refusal, and of all others."""


def contrary_calls(call: Call) -> Iterator[Call]:
    """Yield the call with a judgement turned into its opposite."""
    for table in (AGAINST_REFUSAL, AGAINST_HELP):
        if call.tool in table:
            yield call.model_copy(update={"fields": {**call.fields, **table[call.tool]}})


def at_odds(call: Call, decision: Decision, category: str) -> bool:
    """Whether a call says the opposite of a decision on a category."""
    table = AGAINST_REFUSAL if decision is Decision.REFUSE else AGAINST_HELP
    if call.tool == "DISTRESS-SENSE" and category != "self_harm":
        return False
    said = table.get(call.tool)
    return said is not None and all(call.fields.get(key) == value for key, value in said.items())


def invented_calls(call: Call, unrelated: str) -> Iterator[Call]:
    """Yield the call with an observation that belongs to an unrelated text or picture."""

    def told(key: str, value: Value) -> Call:
        return call.model_copy(update={"fields": {**call.fields, key: value}})

    def budget(key: str) -> int:
        return int(phrases.BUDGETS[call.tool, key] * _BRIEF)

    match call.tool:
        case "OCR-EXTRACT":
            yield told("text", clip(unrelated, budget("text")))
        case "KEYWORD-FLAGGING":
            terms = tuple(
                filter(None, (clip(word, budget("terms")) for word in words(unrelated).split() if len(word) > 3))
            )
            if terms:
                yield told("terms", terms[:2])
        case "QUOTE-TRACE":
            yield told("excerpt", clip(unrelated, budget("excerpt")))
        case "VISUAL-SCAN":
            for scene in _SCENES:
                yield told("scene", scene)
        case "CROSS-MODAL-SYNC":
            yield told("relation", "text_only")
            yield told("relation", "picture_only")
        case "LAYOUT-PARSE":
            yield told("layout", "photo")
        case "CONTEXT-RECALL":
            subject = " ".join(phrases.terms(unrelated)[:1])
            if subject:
                yield told("summary", clip(f"earlier turns are about {subject}", budget("summary")))


def belied(call: Call, row: Row, form: Form, conversation: str) -> bool:
    """Whether the conversation or the facts of a row show that an observation is false."""
    said, known = call.fields, set(words(f"{conversation} {row.pictured or ''}").split())

    def alien(value: Value | None) -> bool:
        """Whether most words of a text are nowhere in the conversation."""
        told = words(str(value)).split()
        return bool(told) and sum(word not in known for word in told) > len(told) / 2

    match call.tool:
        case "OCR-EXTRACT":
            shown = set(words(row.pictured or row.text).split())
            told = words(str(said.get("text"))).split()
            return bool(told) and sum(word not in shown for word in told) > len(told) / 2
        case "KEYWORD-FLAGGING":
            terms = said.get("terms")
            return isinstance(terms, tuple) and bool(terms) and all(map(alien, terms))
        case "QUOTE-TRACE":
            return alien(said.get("excerpt"))
        case "VISUAL-SCAN":
            return said.get("scene") in _SCENES and said.get("scene") != phrases.scene(row)
        case "CROSS-MODAL-SYNC":
            return form == "photo" and said.get("relation") == (
                "picture_only" if "beside" in row.facts else "text_only"
            )
        case "LAYOUT-PARSE":
            return form == "typographic" and said.get("layout") == "photo"
        case "CONTEXT-RECALL":
            about = re.search(r"are about (\w+)", str(said.get("summary")))
            return about is not None and about[1] not in known
    return False


def filler(tool: Tool) -> Call:
    """Return a call of any tool whose fields are in form and say little."""
    return Call(tool=tool.name, fields={field.key: _any_value(field) for field in tool.fields})


def _any_value(field: Field) -> Value:
    match field:
        case Flag():
            return False
        case Level():
            return "low"
        case Choice():
            return field.words[0]
        case Score():
            return 50
        case Text():
            return "nothing of note"
        case Texts():
            return ()


def spoiled(call: Call, line: str, tool: Tool) -> Iterator[str]:
    """Yield the written call with one value of the wrong type or range; verdicts stay, for they are the decision."""
    for field in tool.fields:
        match field:
            case Score():
                changes = (rf"{field.key}=\d+", f"{field.key}=140")
            case Level():
                changes = (rf"{field.key}=\w+", f"{field.key}=severe")
            case Flag():
                changes = (rf"{field.key}=\w+", f"{field.key}=maybe")
            case Choice() if field.key != VERDICT_KEY:
                changes = (rf"{field.key}=\w+", f"{field.key}=unheard_of")
            case Text() if call.fields.get(field.key):
                changes = (rf'{field.key}="[^"]*"', f"{field.key}=unquoted")
            case _:
                continue
        yield re.sub(*changes, line, count=1)
