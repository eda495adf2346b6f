"""The mask machine at full size: the 151,665 tokens of Qwen2.5-VL, from the ranks that a package ships.

The first run compiles the blocks, which takes some ten seconds on every core; later ones load them from `build/blocks`.
"""

import gc
import random
import tracemalloc
from base64 import b64decode
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiktoken
import torch

from qwen import LOGITS, SPECIALS, SPLIT, qwen_ranks, qwen_tokenizer
from safer_protocol.constrain.cache import BlockCache
from safer_protocol.constrain.forced import forced_tokens
from safer_protocol.constrain.machine import Cursor, Machine
from safer_protocol.constrain.processor import MachineLogitsProcessor
from safer_protocol.constrain.row import Row
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.plan import Depth, Plan, Topology
from safer_protocol.text import parse, print_reply
from safer_protocol.toolkit import default_toolkit
from safer_protocol.verify import verify
from sample import sample_plan, sample_reply

TOOLKIT = default_toolkit()
BLOCKS = Path(__file__).parents[2] / "build" / "blocks"

PAGE = """\
def smallest(values: list[int]) -> int:
\tif len(values) < 2 and values[0] <= 10_000:  # "edge" case
\t\treturn values[0]
    return min(v for v in values if v != -1)   \t
<div class="note">a &lt; b</div>\r\n\r\nIt's 23 °C; they've 1,024 files, don't they?
这是一段中文 纸船漂在湖面上。 日本語のテキスト、한국어 문장.
Бумажный кораблик плывёт по озеру, не так ли? Größe, naïve, Ελληνικά, עברית, العربية
🙂👩‍🔬🏳️‍🌈 mixed 🙂text, zero\u200bwidth, \u00a0no-break, e\u0301 combining, \U0001f9ff\ufffd


   leading blanks, trailing blanks   \n\n\n\t\t\n<|im_end|> <|image_pad|> </answer> [OCR-EXTRACT]: found=yes
"""


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """Qwen2.5's own tokenizer."""
    return qwen_tokenizer()


@pytest.fixture(scope="module")
def machine(tokenizer: Any) -> Machine:
    """The machine for the shipped toolkit on the whole vocabulary."""
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    return Machine(TOOLKIT, vocabulary, BlockCache(vocabulary, BLOCKS).obtain(TOOLKIT))


def tokens_of(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    return found


def walk(cursor: Cursor, chance: random.Random) -> bytes:
    """Take random allowed tokens to the end."""
    written = bytearray()
    while not cursor.finished:
        allowed = cursor.allowed().ids
        written += cursor.advance(int(allowed[chance.randrange(len(allowed))]))
    return bytes(written)


def test_the_tokenizer_is_tiktokens(tokenizer: Any) -> None:
    pairs = (line.split() for line in qwen_ranks().read_bytes().splitlines())
    ranks = {b64decode(token): int(rank) for token, rank in pairs}
    encoding = tiktoken.Encoding("qwen", pat_str=SPLIT, mergeable_ranks=ranks, special_tokens={})
    lines = PAGE.splitlines(keepends=True)
    for text in (PAGE, *lines, *(line[1:-2] for line in lines)):
        assert tokens_of(tokenizer, text) == encoding.encode_ordinary(text)
    assert tokenizer.convert_tokens_to_ids(SPECIALS) == list(range(len(ranks), len(ranks) + len(SPECIALS)))
    assert len(tokenizer) == len(ranks) + len(SPECIALS) == 151_665


def test_random_walks_parse_and_verify_under_every_topology(machine: Machine) -> None:
    topologies: Counter[str] = Counter()
    for seed in range(300):
        text = walk(machine.start(answer_tokens=20), random.Random(seed)).decode()
        assert verify(text, TOOLKIT).violations == (), text
        reply = parse(text, TOOLKIT).reply
        assert reply is not None
        topologies[reply.plan.topology] += 1
    assert set(topologies) == set(Topology)


def test_no_state_allows_a_special_token(machine: Machine, tokenizer: Any) -> None:
    special = Row.of(np.array(list(tokenizer.added_tokens_decoder), np.int32), len(tokenizer)).bits
    assert all(not (index.bits & special).any() for index in machine.indexes)


def test_forced_tokens_are_those_of_the_tokenizer(machine: Machine, tokenizer: Any) -> None:
    chance, total, forced = random.Random(0), 0, 0
    for _ in range(20):
        text = print_reply(sample_reply(chance, TOOLKIT, sample_plan(chance, TOOLKIT)), TOOLKIT)
        tokens = tokens_of(tokenizer, text)
        cursor, place = machine.start(), 0
        while place < len(tokens):
            run = forced_tokens(cursor, tokenizer)
            assert run == tokens[place : place + len(run)]
            forced, place = forced + len(run), place + len(run)
            if place < len(tokens):
                cursor.advance(tokens[place])
                place += 1
        total += len(tokens)
    assert forced > 0.3 * total


def test_an_answer_may_hold_code_and_any_script(machine: Machine, tokenizer: Any) -> None:
    plan = Plan(
        category="none",
        risk="low",
        persona="assistant",
        topology="linear",
        depth="standard",
        tools=("KEYWORD-FLAGGING", "RISK-SCORER", "SAFETY-GATE"),
    )
    chance, text = random.Random(0), ""
    while "verdict=allow" not in text:
        text = print_reply(sample_reply(chance, TOOLKIT, plan), TOOLKIT)
    answer = f"Like this:\n{PAGE.replace('</answer>', '</answer')}<answer> and 1 < 2 </ans 🙂"
    text = f"{text.partition('<answer>')[0]}<answer>\n{answer}\n</answer>\n"
    cursor = machine.start()
    for token in tokens_of(tokenizer, text):
        assert token in cursor.allowed()
        cursor.advance(token)
    assert cursor.allowed().ids.tolist() == [machine.vocabulary.eos]
    assert verify(text, TOOLKIT).valid


def test_logits_are_masked_as_far_as_they_are_padded(machine: Machine) -> None:
    """Logits are 151,936 wide: what is behind the last token is never chosen, be the row narrow or wide."""
    torch.set_num_threads(1)
    chance, widths = random.Random(3), set[bool]()
    cursor, tokens = machine.start(depth=Depth.BRIEF, answer_tokens=20), list[int]()
    processor = MachineLogitsProcessor(machine, depth=Depth.BRIEF, answer_tokens=20)
    logits = torch.zeros(1, LOGITS)
    while not cursor.finished:
        allowed = cursor.allowed()
        masked = processor.process_logits(torch.tensor([tokens], dtype=torch.long), logits.clone())
        left = torch.isfinite(masked[0]).nonzero().flatten().numpy()
        assert np.array_equal(left, allowed.ids)
        widths.add(allowed.count > 100_000)
        tokens.append(int(allowed.ids[chance.randrange(allowed.count)]))
        cursor.advance(tokens[-1])
    assert widths == {False, True}


def test_the_memory_that_is_told_is_the_memory_that_is_held(machine: Machine) -> None:
    cache = BlockCache(machine.vocabulary, BLOCKS)
    gc.collect()
    tracemalloc.start()
    try:
        other = Machine(TOOLKIT, machine.vocabulary, cache.obtain(TOOLKIT))
        for seed in range(20):
            walk(other.start(answer_tokens=20), random.Random(seed))
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert cache.held.compiled == ()
    assert cache.held.nbytes == pytest.approx(held, rel=0.1)
