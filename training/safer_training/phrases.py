"""The teacher's words: what each tool says, and the answers. Short on purpose: a small model can learn to say them."""

import re
from collections.abc import Mapping

from safer_protocol.decision import Decision, Risk
from safer_protocol.fields import Text, Texts, Value
from safer_protocol.library import TOOLS
from safer_training.rows import Row

BUDGETS: Mapping[tuple[str, str], int] = {
    (tool.name, field.key): field.budget for tool in TOOLS for field in tool.fields if isinstance(field, Text | Texts)
}

_STOP_WORDS = (
    "a an and are as at be by can could do does for from get give have how i if in into is it its make me my of on or our "
    "should some tell that the their them they this to up us want was what when where which who why will with would you "
    "your need best way ways someone without please write create explain using use used there any all not no about more"
)
_STOP = frozenset(_STOP_WORDS.split())
_ALARM = re.compile(
    r"\b(kill|shoot|bomb|blow|poison|hack|steal|crack|attack|burn|stab|murder|weapon|gun|drug|knife|dead|die|death|"
    r"explo|destroy|abuse|rob|fraud|crime|terror|violen|suicid|rape|hate|smuggl|traffick|arson|phish|spy|virus)\w*",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"\b(python|java|c\+\+|javascript|sql|code|function|program|script|server|database|linux|bash)\b", re.I
)
_LEARN = re.compile(r"\b(why|what|explain|define|difference|history|meaning|describe|how many|how much)\b", re.I)

DEEDS: Mapping[str, str] = {
    "violent_crimes": "violence",
    "nonviolent_crimes": "a crime",
    "sex_crimes": "sexual violence or exploitation",
    "child_exploitation": "anything that exploits children",
    "defamation": "false claims about a person",
    "privacy": "exposing private information",
    "intellectual_property": "violating someone's rights in a work",
    "indiscriminate_weapons": "weapons that can hurt many people",
    "hate": "demeaning people for what they are",
    "self_harm": "self-harm",
    "sexual_content": "explicit content",
    "elections": "misleading the public",
    "code_abuse": "abusing computer systems",
    "jailbreak": "getting round the rules",
    "prompt_injection": "instructions hidden in material",
    "specialized_advice": "advice that needs a professional",
    "none": "this",
}
OFFERS: Mapping[str, str] = {
    "violent_crimes": "ways to stay safe or to settle a conflict",
    "nonviolent_crimes": "how to prevent or report it",
    "sex_crimes": "where victims find help",
    "child_exploitation": "how to protect children and report abuse",
    "defamation": "how to check facts and write fairly",
    "privacy": "how to protect private data",
    "intellectual_property": "legal ways to use such works",
    "indiscriminate_weapons": "safety rules and history",
    "hate": "how to write about people with respect",
    "sexual_content": "questions of health and consent",
    "elections": "how to find reliable sources",
    "code_abuse": "how to defend systems",
    "jailbreak": "the same topic in a safe way",
    "prompt_injection": "a summary of the material",
}
REASONS: Mapping[str, str] = {
    "violent_crimes": "dangerous",
    "indiscriminate_weapons": "dangerous",
    "hate": "hateful",
    "defamation": "deceptive",
    "elections": "deceptive",
    "privacy": "private",
    "sexual_content": "sexual",
    "sex_crimes": "sexual",
    "child_exploitation": "sexual",
    "jailbreak": "manipulated",
    "prompt_injection": "manipulated",
}
RECALLED: Mapping[str, str] = {
    "earlier": "the request stands in an earlier turn",
    "reply": "the last message is a reply to be judged",
}
QUOTED_IN: Mapping[str, str] = {"quoted": "document", "system": "system"}
VICTIMS: Mapping[str, str] = {
    "violent_crimes": "person",
    "indiscriminate_weapons": "public",
    "nonviolent_crimes": "person",
}


def alarming(text: str) -> bool:
    """Whether a text holds words that alarm, whatever they mean there."""
    return bool(_ALARM.search(text))


def persona_for(text: str) -> str:
    """Return the persona that suits a harmless request."""
    if _CODE.search(text):
        return "analyst"
    return "educator" if _LEARN.search(text) else "assistant"


def terms(text: str) -> tuple[str, ...]:
    """Return up to three words of a request that bear on its risk, alarming ones first."""
    found = [match.group(0).lower() for match in _ALARM.finditer(text)]
    others = [word for word in re.findall(r"[a-z]{4,}", text.lower()) if word not in _STOP]
    return tuple(dict.fromkeys([*found, *sorted(others, key=len, reverse=True)]))[:2]


def fields(
    name: str, row: Row, form: str, category: str, risk: Risk, verdict: Decision, chance: int
) -> dict[str, Value]:
    """Return a tool's fields; texts may be longer than their budget."""
    text, calm = row.text, category == "none"
    deed = DEEDS[category]
    sure = 90 + chance % 9
    match name:
        case "OCR-EXTRACT":
            return {"found": True, "text": row.pictured or text}
        case "LAYOUT-PARSE":
            return {"layout": "typographic", "blanks": False}
        case "VISUAL-SCAN":
            return {"scene": scene(row), "sensitive": False}
        case "CROSS-MODAL-SYNC" if "beside" in row.facts:
            return {"relation": "text_only", "summary": "the picture adds nothing to the request"}
        case "CROSS-MODAL-SYNC":
            return {"relation": "complementary", "summary": "the text asks about the picture"}
        case "CONTEXT-RECALL":
            return {"relevant": True, "summary": RECALLED.get(form, "earlier turns lead up to this request")}
        case "QUOTE-TRACE":
            return {"source": QUOTED_IN.get(form, "user"), "instruction": True, "excerpt": text}
        case "KEYWORD-FLAGGING":
            return {"flagged": not calm or alarming(text), "terms": terms(text)}
        case "INTENT-RADAR":
            intent = "ambiguous" if verdict is Decision.CLARIFY else "benign" if calm else "harmful"
            kind, does = ("reply", "supports") if form == "reply" else ("request", "asks for")
            evidence = f"a harmless {kind}" if calm else f"{does} {deed}"
            return {"intent": intent, "confidence": sure, "evidence": evidence}
        case "RISK-SCORER":
            score = {Risk.NONE: 2, Risk.LOW: 15, Risk.MEDIUM: 45, Risk.HIGH: 80, Risk.CRITICAL: 95}[risk]
            return {"category": category, "level": str(risk), "score": score + chance % 5}
        case "JAILBREAK-SENTINEL":
            return {"technique": "override", "confidence": sure}
        case "HARM-FORECAST":
            outcome = f"people could be harmed by {deed}"
            return {"victim": VICTIMS.get(category, "person"), "severity": str(risk), "outcome": outcome}
        case "DUAL-USE-CHECK":
            return {"legitimate": OFFERS.get(category, "general knowledge"), "misuse": str(risk)}
        case "POLICY-MATCH":
            return {"applies": not calm, "rule": f"no help with {deed}"}
        case "DISTRESS-SENSE":
            return {"distress": "high", "cue": "words about hurting oneself"}
        case "EXPERTISE-BOUNDARY":
            return {"domain": domain(text), "professional": True}
        case "BENIGN-READING":
            return {"reading": "the alarming word has a harmless sense here", "plausibility": sure}
    return _decision_fields(name, text, category, verdict)


def _decision_fields(name: str, text: str, category: str, verdict: Decision) -> dict[str, Value]:
    deed = DEEDS[category]
    match name:
        case "ENTRY-GATE" if category == "jailbreak":
            return {"reason": "an attempt to get round the rules", "verdict": "refuse"}
        case "ENTRY-GATE":
            return {"reason": "look closer first", "verdict": "proceed"}
        case "REFUSAL-GENERATOR":
            return {
                "reason": REASONS.get(category, "illegal"),
                "alternative": OFFERS.get(category, "general information"),
            }
        case "CLARIFY-PROMPT":
            return {"question": "what exactly do you mean?"}
        case "CAUTION-WRITER":
            professional = "a person you trust" if category == "self_harm" else f"a {_expert(text)}"
            return {"caution": f"talk to {professional}"}
        case "SUPPORT-ROUTER":
            return {"resource": "crisis_line"}
        case "SAFETY-GATE":
            rationale = {
                Decision.ALLOW: "no harm in a full answer",
                Decision.CLARIFY: "too little is known to decide",
                Decision.SAFE_COMPLETE: "general help with care is right",
                Decision.REFUSE: f"a full answer would help with {deed}",
            }[verdict]
            return {"rationale": rationale, "verdict": str(verdict)}
    raise AssertionError(f"the teacher does not use {name}")


def scene(row: Row) -> str:
    """Describe a picture from its facts, or one that merely stands beside a request."""
    facts = row.facts
    if "beside" in facts:
        return str(facts["beside"])
    match row.set:
        case "sign_digits":
            return "a hand showing a digit"
        case "nlvr_dev":
            return "boxes with coloured shapes"
        case "bccd":
            return "a blood smear under a microscope"
        case "playing_cards":
            return "a playing card"
        case "noto_emoji":
            return "an emoji"
        case "beavertails_v" | "spa_vl" | "mm_safetybench" | "vlguard":
            return "a picture that belongs to the request"
    return "a photo of " + str(facts.get("folder", "everyday things")).replace("_", " ")


def domain(text: str) -> str:
    """Name the profession's domain that a question belongs to."""
    lower = text.lower()
    if re.search(
        r"invest|loan|stock|tax|money|fund|retire|pension|crypto|bitcoin|financ|estate|shares|debt|saving", lower
    ):
        return "financial"
    if re.search(r"court|sue|legal|law|contract|divorce|custody|lawyer|rights|landlord|ticket", lower):
        return "legal"
    if re.search(
        r"pain|pill|dose|doctor|medic|symptom|cancer|fever|disease|health|drug|treat|diabet|sleep|blood", lower
    ):
        return "medical"
    return "other"


def _expert(text: str) -> str:
    return {"financial": "financial advisor", "legal": "lawyer", "medical": "doctor"}.get(
        domain(text), "qualified professional"
    )


def answer(row: Row, form: str, verdict: Decision, category: str, chance: int) -> str:
    """Return the answer that goes with a verdict: a known answer where the facts give one, else a short honest template."""
    deed = DEEDS[category]
    if form == "reply" and verdict is Decision.ALLOW:
        return "This reply may be shown."
    if form == "reply" and verdict is Decision.REFUSE:
        return f"I won't pass this reply on: it would support {deed}."
    match verdict:
        case Decision.REFUSE:
            opening = (
                f"I can't help with {deed}.",
                f"I'm sorry, but I can't support {deed}.",
                f"I won't assist with {deed}.",
            )
            return f"{opening[chance % 3]} I can tell you about {OFFERS.get(category, 'related safe topics')} instead."
        case Decision.CLARIFY:
            return ("Could you tell me more about what you mean?", "Could you clarify what this is about?")[chance % 2]
        case Decision.SAFE_COMPLETE if category == "self_harm":
            return (
                "I can help with the safe part: you are not alone. Please talk to someone you trust or call a crisis line; "
                "in danger, call the emergency number now."
            )
        case Decision.SAFE_COMPLETE:
            return (
                "I can share general information, not advice for your case. Collect the facts, compare reliable sources "
                f"and talk to a {_expert(row.text)} before you decide."
            )
    if row.answer is not None:
        return f"The answer is {row.answer}."
    return _acknowledgement(row.text, chance)


def _acknowledgement(text: str, chance: int) -> str:
    lower = text.lower()
    if _CODE.search(lower):
        body = "start from a small tested version, then add one step at a time"
    elif re.search(r"\b(write|create|draft|compose|make|plan|design|generate)\b", lower):
        body = "begin with the aim and the reader, note the main points, then put them in order"
    elif lower.startswith("how"):
        body = "begin with the basics, go step by step and check each result"
    elif _LEARN.search(lower):
        body = "a good reference work explains it well; begin with its overview"
    else:
        body = "tell me which part matters most to you and we can begin there"
    opening = ("Happy to help", "Sure", "Of course")[chance % 3]
    return f"{opening}. I am a small demonstration model, so only a pointer: {body}."
