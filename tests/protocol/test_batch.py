"""A batch of replies in somebody else's engine: however requests come, go and move, each is masked by what it has written."""

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from safer_protocol.constrain.batch import Batch
from safer_protocol.constrain.machine import Machine
from safer_protocol.constrain.mask import mask_batch, mask_packed
from safer_protocol.constrain.row import Row
from safer_protocol.toolkit import default_toolkit
from safer_protocol.verify import verify

TOOLKIT = default_toolkit()


@dataclass
class Request:
    """A request of an engine that draws at random."""

    constrained: bool
    output: list[int] = field(default_factory=list)


class Engine:
    """Slots, and an order of events such as a scheduler's."""

    def __init__(self, machine: Machine, chance: random.Random) -> None:
        self.machine, self.chance, self.batch = machine, chance, Batch()
        self.slots: dict[int, Request] = {}
        self.preempted: list[Request] = []
        self.ended: list[Request] = []

    def enter(self, slot: int, request: Request) -> None:
        cursor = self.machine.start(answer_tokens=4, limit=400) if request.constrained else None
        self.slots[slot] = request
        self.batch.enter(slot, cursor, request.output)

    def leave(self, slot: int) -> Request:
        self.batch.leave(slot)
        return self.slots.pop(slot)

    def step(self) -> None:
        """Let something happen to the batch, then draw a token for some of its requests."""
        match self.chance.randrange(250):
            case 0 if self.slots:
                self.preempted.append(self.leave(self.chance.choice(list(self.slots))))
            case 1 if self.preempted:
                self.enter(self.chance.randrange(6), self.preempted.pop())
            case 2 if self.slots:
                source, target = self.chance.choice(list(self.slots)), self.chance.randrange(6)
                if source != target:
                    self.batch.move(source, target)
                    self.slots[target] = self.slots.pop(source)
            case 3:
                one, other = self.chance.sample(range(6), 2)
                self.batch.swap(one, other)
                first, second = self.slots.pop(one, None), self.slots.pop(other, None)
                self.slots |= {slot: it for slot, it in ((other, first), (one, second)) if it is not None}
            case 4 | 5 | 6 if len(self.slots) < 6:
                self.enter(self.chance.randrange(6), Request(self.chance.random() < 0.8))
            case 7:
                self.enter(self.chance.randrange(6), Request(self.chance.random() < 0.8))
        numbers, rows = self.batch.rows()
        allowed = dict(zip(numbers, rows, strict=True))
        assert set(allowed) == {slot for slot, request in self.slots.items() if request.constrained}
        for slot, request in list(self.slots.items()):
            if self.chance.random() < 0.2:
                continue  # a chunk of its prompt: what was masked is not drawn
            ids = allowed[slot].ids if slot in allowed else np.arange(len(self.machine.vocabulary.tokens))
            request.output.append(int(ids[self.chance.randrange(len(ids))]))
            if slot in allowed and request.output[-1] in (
                self.machine.vocabulary.eos,
                self.machine.vocabulary.end_of_cut,
            ):
                self.ended.append(self.leave(slot))


def text_of(machine: Machine, output: list[int]) -> str:
    return b"".join(machine.vocabulary.tokens[token] or b"" for token in output).decode()


def test_every_reply_that_ends_is_valid(machine: Machine) -> None:
    ended = 0
    for seed in range(6):
        engine = Engine(machine, random.Random(seed))
        for _ in range(1000):
            engine.step()
        for request in engine.ended:
            assert verify(text_of(machine, request.output), TOOLKIT).valid
            assert len(request.output) <= 400
        ended += len(engine.ended)
    assert ended > 10


def test_what_was_not_allowed_leaves_nothing_but_the_end(machine: Machine) -> None:
    batch, output = Batch(), [-1]
    batch.enter(0, machine.start(), output)
    for token in (5, 6):
        assert batch.rows()[1][0].ids.tolist() == [machine.vocabulary.eos]
        output.append(token)


def test_a_slot_that_is_taken_over_unconstrained_is_free(machine: Machine) -> None:
    batch = Batch()
    batch.enter(3, machine.start(), [])
    batch.enter(3, None, [])
    assert batch.rows() == ([], [])


@pytest.mark.parametrize("numbers", [[0, 1, 2, 3], [1, 3], [2], []])
@pytest.mark.parametrize("width", [700, 737, 690])
def test_all_ways_to_mask_are_one(machine: Machine, numbers: list[int], width: int) -> None:
    size = len(machine.vocabulary.tokens)
    chance = np.random.default_rng(1)
    rows = [
        Row.of(np.flatnonzero(chance.random(size) < share).astype(np.int32), size) for share in (0.01, 0.5, 0.9, 0.1)
    ]
    rows = [rows[number] for number in numbers]
    logits = torch.randn(4, width, generator=torch.Generator().manual_seed(2))
    expected = logits.clone()
    for number, row in zip(numbers, rows, strict=True):
        barred = [token for token in range(width) if token not in set(row.ids.tolist())]
        expected[number, barred] = float("-inf")
    for way in (mask_batch, *([mask_packed] if numbers else [])):
        masked = logits.clone()
        way(masked, numbers, rows)
        assert torch.equal(masked, expected), way


def test_a_mask_says_nothing_of_its_own(machine: Machine) -> None:
    """The logits of allowed tokens stay as they were, whatever they are."""
    logits: Any = torch.full((1, 737), 7.5)
    mask_batch(logits, [0], [machine.start().allowed()])
    assert set(logits[0].tolist()) == {7.5, float("-inf")}
