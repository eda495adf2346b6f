"""Fuzz parser, printer and verifier: they take any text and any typed reply, agree with one another, and never raise.

python tests/fuzz/replies.py -max_total_time=60
"""

from itertools import product

import atheris
from pydantic import ValidationError

with atheris.instrument_imports(include=["safer_protocol"]):
    from safer_protocol.plan import Depth
    from safer_protocol.prompt import Turn
    from safer_protocol.reply import Reply
    from safer_protocol.text import MAX_VIOLATIONS, parse, print_reply
    from safer_protocol.toolkit import default_toolkit
    from safer_protocol.verify import Report, verify
    from safer_server.engines.base import Constraint, EngineRequest
    from safer_server.engines.markers import MARKERS, by_markers

from seeds import arguments

TOOLKIT = default_toolkit()


def examples() -> list[bytes]:
    """Valid replies as text and as JSON, each behind a byte that says which."""
    requests = [
        EngineRequest((Turn("user", (word,)),), constraint=Constraint(depth=depth))
        for word, depth in product([*MARKERS, "hello"], Depth)
    ]
    replies = [by_markers(request) for request in requests]
    return [
        *(b"t" + print_reply(reply, TOOLKIT).encode() for reply in replies),
        *(b"j" + reply.model_dump_json().encode() for reply in replies),
    ]


def words() -> list[bytes]:
    """Tags, names and keys of the protocol."""
    heads = [word for key in ("category", "risk", "persona", "topology", "depth") for word in TOOLKIT.head_words(key)]
    fields = [f"{field.key}=" for tool in TOOLKIT.tools for field in tool.fields]
    tags = [
        "<plan>\n",
        "</plan>\n",
        "<thinking>\n",
        "</thinking>\n",
        "<answer>\n",
        "\n</answer>\n",
        "true",
        "false",
        '""',
        "[]",
        "; ",
    ]
    openings = [opening for openings in TOOLKIT.openings.values() for opening in openings]
    names = [f"[{tool.name}]" for tool in TOOLKIT.tools]
    return [word.encode() for word in dict.fromkeys([*tags, *names, *heads, *fields, *openings])]


def check(report: Report) -> None:
    """What holds of every report."""
    assert report.valid == (not report.violations)
    assert len(report.violations) <= MAX_VIOLATIONS
    report.model_dump_json()


def check_text(text: str) -> None:
    """What holds of every text."""
    parsed, report = parse(text, TOOLKIT), verify(text, TOOLKIT)
    check(report)
    if parsed.reply is None:
        assert not report.valid
        return
    typed = verify(parsed.reply, TOOLKIT)
    check(typed)
    assert typed.decision == report.decision
    try:
        printed = print_reply(parsed.reply, TOOLKIT)
    except ValueError:
        assert not report.valid  # a name or value that has no written form
        return
    if report.valid:
        assert typed.valid
        assert printed == text
    again = parse(printed, TOOLKIT)
    assert again.reply is not None
    assert print_reply(again.reply, TOOLKIT) == printed
    if typed.valid:
        assert again.reply == parsed.reply
        assert verify(printed, TOOLKIT).valid


def check_typed(reply: Reply) -> None:
    """What holds of every typed reply."""
    report = verify(reply, TOOLKIT)
    check(report)
    if report.valid:
        assert verify(print_reply(reply, TOOLKIT), TOOLKIT) == report


def try_one(data: bytes) -> None:
    """Take a text, or JSON of a reply."""
    if data[:1] == b"j":
        try:
            reply = Reply.model_validate_json(data[1:])
        except ValidationError:
            return
        check_typed(reply)
    else:
        check_text(data[1:].decode("utf-8", "surrogateescape"))


with arguments(examples(), words()) as given:
    atheris.Setup(given, try_one)
    atheris.Fuzz()
