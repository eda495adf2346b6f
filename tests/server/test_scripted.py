"""The scripted engine and the script that ships."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safer_protocol.decision import Decision, Risk
from safer_protocol.plan import Depth, Plan, Topology
from safer_protocol.prompt import ImagePart, Turn
from safer_protocol.text import print_reply
from safer_protocol.toolkit import default_toolkit
from safer_protocol.topology import plan_menu
from safer_protocol.verify import verify
from safer_server.engines.base import Constraint, EngineError, EngineRequest, Piece, Sampling
from safer_server.engines.markers import MARKERS, by_markers
from safer_server.engines.scripted import ScriptedEngine, Take, table

TOOLKIT = default_toolkit()


def request(text: str, **fields: object) -> EngineRequest:
    return EngineRequest((Turn("user", (text,)),), **fields)  # type: ignore[arg-type]


def pieces(engine: ScriptedEngine, asked: EngineRequest) -> list[Piece]:
    async def run() -> list[Piece]:
        return [piece async for piece in engine.stream(asked)]

    return asyncio.run(run())


@pytest.mark.parametrize("word", [*MARKERS, "hello"])
def test_a_marker_word_decides(word: str) -> None:
    reply = by_markers(request(f"Something about {word.upper()}, please"))
    report = verify(reply, TOOLKIT)
    assert report.valid
    assert report.decision == (MARKERS[word].decision if word in MARKERS else Decision.ALLOW)
    assert verify(print_reply(reply, TOOLKIT), TOOLKIT).valid


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Any plan that the protocol permits."""
    topology = draw(st.sampled_from(TOOLKIT.usable_topologies))
    depth = draw(st.sampled_from(Depth))
    tools: list[str] = []
    while not (menu := plan_menu(TOOLKIT, Topology(topology), depth, tools)).may_end:
        choices: Sequence[str] = menu.tools
        tools.append(draw(st.sampled_from(choices)))
    words = {key: draw(st.sampled_from(TOOLKIT.head_words(key))) for key in ("category", "persona")}
    return Plan(**words, risk=draw(st.sampled_from(Risk)), topology=topology, depth=depth, tools=tuple(tools))


@settings(max_examples=200)
@given(plan=plans(), word=st.sampled_from([*MARKERS, "hello"]))
def test_every_plan_of_a_caller_is_followed_to_a_valid_reply(plan: Plan, word: str) -> None:
    reply = by_markers(request(word, constraint=Constraint(plan=plan)))
    assert reply.plan == plan
    assert verify(reply, TOOLKIT).violations == ()


def test_a_picture_is_looked_for() -> None:
    asked = EngineRequest((Turn("user", ("hello", ImagePart(None))),))
    assert by_markers(asked).plan.tools[0] == "OCR-EXTRACT"


@pytest.mark.parametrize("characters", [1, 4, 1000])
def test_the_pieces_are_the_text(characters: int) -> None:
    engine = ScriptedEngine(lambda _: "some text\n", characters=characters)
    found = pieces(engine, request("hello"))
    assert "".join(piece.text for piece in found) == "some text\n"
    assert found[0].prompt_tokens is not None
    assert [piece.finish for piece in found] == [None] * (len(found) - 1) + ["stop"]
    assert engine.cancelled == 0


def test_a_long_answer_is_closed_at_its_limit() -> None:
    found = pieces(ScriptedEngine(), request("hello", sampling=Sampling(answer_tokens=2)))
    text = "".join(piece.text for piece in found)
    assert text.endswith("<answer>\nThis is \n</answer>\n")
    assert found[-1].finish == "length"
    assert verify(text, TOOLKIT).valid


def test_faults_happen_where_they_are_scripted() -> None:
    assert len(pieces(ScriptedEngine(lambda _: Take("abcdefgh", stop_at=1)), request("x"))) == 2
    with pytest.raises(EngineError):
        pieces(ScriptedEngine(lambda _: Take("abcdefgh", raise_at=1)), request("x"))


def test_a_table_answers_what_it_knows() -> None:
    script = table({"known": "from the table"})
    assert script(request("known")) == "from the table"
    assert script(request("steal")) == by_markers(request("steal"))
