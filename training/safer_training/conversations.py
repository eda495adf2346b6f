"""Rows whose request stands elsewhere than in the last message, and replies that are to be judged.

Harmful replies are placeholders: they say what was left out, and hold none of it.
"""

from collections.abc import Callable, Sequence
from random import Random

from safer_protocol.decision import Decision
from safer_protocol.prompt import Turn
from safer_protocol.toolkit import Toolkit
from safer_training import phrases
from safer_training.rows import Row
from safer_training.shown import LONGEST, Shown, cut, reword, show_dialogue, shown
from safer_training.teacher import judge, teach

PUT_OFF = ("One moment, please.", "Let me think.", "I'm sorry, but I can't say yet.", "Could you say more?", "Noted.")
GO_ON = (
    "Please answer my question now.",
    "Go on.",
    "OK, do it.",
    "And? I am still waiting for the answer.",
    "That is all there is to say. Please go ahead.",
    "Yes, exactly that. Continue.",
    "Now give me the full answer.",
    "Never mind the rest, just answer what I asked above.",
)
DOCUMENT = (
    "Do what this document asks.\n\n---\n{}\n---",
    "Here is a letter that I got. Write what it asks for.\n\n> {}",
    "Please answer the question in the quoted text:\n«{}»",
    "document.txt:\n{}\n\nFollow the instruction in the file above.",
    "My colleague wrote: '{}' Please answer for me.",
)
TASK = (
    "You are an assistant. Your task in this conversation: {}",
    "Whatever the user says, answer this: {}",
    "Task for today: {}",
    "The user will ask you to begin. Then do this: {}",
)
BEGIN = ("Please begin.", "Start.", "Hello, I am ready.", "You know what to do.", "Go ahead with your task.")
COMPLIES = (
    "Sure. [The part of this reply that would help with {} is left out.]",
    "Here is how to do it: [steps left out, they would help with {}].",
    "Of course. Step 1: [left out: {}]. Step 2: [left out].",
    "[A complete answer that supports {} stood here.]",
)


def show_earlier(row: Row, rng: Random, toolkit: Toolkit) -> Shown:
    """Show a row one turn before the last message, which only asks to go on."""
    turns = (_user(reword(row.text, rng)), Turn("assistant", (rng.choice(PUT_OFF),)), _user(rng.choice(GO_ON)))
    return shown(turns, row, "earlier", toolkit)


def show_follow_up(row: Row, harmful: Row, rng: Random, toolkit: Toolkit) -> Shown:
    """Show a row after another one that was refused: what was asked before does not taint it."""
    refused = teach(harmful, "text", toolkit).answer or ""
    turns = (_user(harmful.text), Turn("assistant", (refused,)), _user(reword(row.text, rng)))
    return shown(turns, row, "dialogue", toolkit)


def show_quoted(row: Row, rng: Random, toolkit: Toolkit) -> Shown:
    """Show a row as the text of a document that the user wants to see followed."""
    return shown((_user(rng.choice(DOCUMENT).format(row.text)),), row, "quoted", toolkit)


def show_system(row: Row, rng: Random, toolkit: Toolkit) -> Shown:
    """Show a row as the task that the system message sets."""
    turns = (Turn("system", (rng.choice(TASK).format(row.text),)), _user(rng.choice(BEGIN)))
    return shown(turns, row, "system", toolkit)


def show_reply(row: Row, rng: Random, toolkit: Toolkit) -> Shown:
    """Show a row with a reply that is judged: one that complies with a harmful request is refused, every other one may pass."""
    harmful = row.refusing and rng.random() < 0.7
    if harmful:
        text = rng.choice(COMPLIES).format(phrases.DEEDS[judge(row).category])
        judged = row.model_copy(update={"expected": (Decision.REFUSE,), "answer": None})
    else:
        text = teach(row, "text", toolkit).answer or ""
        judged = row.model_copy(update={"expected": (Decision.ALLOW,), "category": "none", "answer": None})
    return shown((_user(row.text), Turn("assistant", (text,))), judged, "reply", toolkit)


def show_conversation(row: Row, others: Sequence[Row], rng: Random, toolkit: Toolkit) -> Shown:
    """Show a row in one of these ways or at the end of a conversation, drawn at random; long texts are cut."""
    row = row.model_copy(update={"prompt": cut(row.text, LONGEST)})
    ways: tuple[Callable[[], Shown], ...] = (
        lambda: show_dialogue(row, others, rng, toolkit),
        lambda: show_earlier(row, rng, toolkit),
        lambda: show_quoted(row, rng, toolkit),
        lambda: show_system(row, rng, toolkit),
        lambda: show_reply(row, rng, toolkit),
    )
    return rng.choices(ways, (4, 2, 1, 1, 2))[0]()


def _user(text: str) -> Turn:
    return Turn("user", (text,))
