"""The patterns of the blocks accept just what the printer writes and the verifier permits."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reply_strategies import ANSWER_TEXT, replies
from safer_protocol.decision import Decision
from safer_protocol.grammar import ANSWER_PREFIX, AnswerBlock, CallBlock, HeadBlock, block_pattern, blocks
from safer_protocol.plan import Depth
from safer_protocol.reply import Reply
from safer_protocol.text import print_call, print_head
from safer_protocol.toolkit import OPENINGS, Toolkit, default_toolkit
from safer_protocol.verify import answer_violations

TOOLKIT = default_toolkit()
ANSWER_PATTERNS = {decision: re.compile(block_pattern(AnswerBlock(decision), TOOLKIT)) for decision in Decision}

STARTS = [
    "",
    "I",
    "I can",
    "I won't",
    "Could you tell me",
    "Here is what I can safely say",
    "I can't help with",
    " ",
    "<",
]


@pytest.mark.parametrize("decision", Decision)
@given(st.sampled_from(STARTS), ANSWER_TEXT)
def test_an_answer_block_matches_just_what_the_verifier_permits(decision: Decision, start: str, rest: str) -> None:
    answer = (start + rest).encode("utf-8", "ignore").decode()
    matches = ANSWER_PATTERNS[decision].fullmatch(f"{ANSWER_PREFIX}{answer}\n</answer>\n") is not None
    assert matches == (answer_violations(answer, decision, TOOLKIT) == [])


@given(replies(TOOLKIT))
def test_blocks_match_what_is_printed(reply: Reply) -> None:
    head = f"<plan>\n{print_head(reply.plan)}\n"
    assert re.fullmatch(block_pattern(HeadBlock(None), TOOLKIT), head)
    for depth in Depth:
        fixed = re.fullmatch(block_pattern(HeadBlock(depth), TOOLKIT), head)
        assert (fixed is not None) == (reply.plan.depth == depth)
    for call in reply.trace:
        block = CallBlock(call.tool, TOOLKIT.tool(call.tool).verdicts)
        assert re.fullmatch(block_pattern(block, TOOLKIT), print_call(call, TOOLKIT) + "\n")


def test_an_opening_may_begin_with_another() -> None:
    openings = {**OPENINGS, Decision.REFUSE: ("No", "No way", "Nope")}
    allowed = re.compile(block_pattern(AnswerBlock(Decision.ALLOW), Toolkit(openings=openings)))
    for answer, permitted in (("Now", False), ("N", True), ("Not", False), ("Yes", True), ("no", True)):
        assert bool(allowed.fullmatch(f"{ANSWER_PREFIX}{answer}\n</answer>\n")) is permitted


def test_every_block_is_listed_once() -> None:
    listed = list(blocks(TOOLKIT))
    assert len(listed) == len(set(listed))
    assert {block.tool for block in listed if isinstance(block, CallBlock)} == set(TOOLKIT.by_name)
