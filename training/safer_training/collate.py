"""From rows to tensors: rows are shown anew each time they are drawn, and labels weigh the tokens that decide most."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Literal

import torch
from torch import Tensor

from safer_protocol.plan import Plan
from safer_protocol.prompt import IMAGE_PAD, TURN_CLOSE, Turn, encode_prompt, pictures
from safer_protocol.reply import Reply
from safer_protocol.text import PLAN_OPEN, TRACE_OPEN, print_call, print_head, print_plan, print_reply
from safer_protocol.toolkit import Toolkit
from safer_training.checkpoint import MERGE
from safer_training.conversations import show_conversation
from safer_training.glyphs import LARGE, Cells
from safer_training.recipe import Recipe
from safer_training.render import Picture
from safer_training.rows import Row
from safer_training.shown import Draw, Shown, show_picture, show_reading, show_spelling, show_text

Manner = Literal["text", "conversation", "picture", "reading", "spelling"]
IGNORED = -100
WORD_TOKENS = 3
"""So many tokens of a word in a picture are taught; few words have more."""
_MARKS = ".,;:!?\"'()"
_DECISIVE = re.compile(r"\b(?:category|risk|verdict|level)=(\w+)")
_READ = re.compile(r'text="([^"]*"\n)')


@dataclass(frozen=True)
class Target:
    """The token ids of a completion and how much each of them counts."""

    ids: list[int]
    weights: list[float]


def head_text(plan: Plan) -> str:
    """Return a reply up to the end of its plan's head: all that decides."""
    return f"{PLAN_OPEN}\n{print_head(plan)}\n"


def encode_target(tokenizer: Any, text: str, fixed_weight: float, ended: bool) -> Target:
    """Encode a completion; the values of category, risk, level and verdict count 1, other tokens `fixed_weight`."""
    target = _weighted(tokenizer, text, _DECISIVE, fixed_weight)
    if ended:
        return Target([*target.ids, tokenizer.convert_tokens_to_ids(TURN_CLOSE)], [*target.weights, fixed_weight])
    return target


def encode_reading(tokenizer: Any, reply: Reply, toolkit: Toolkit) -> Target:
    """Encode a reply up to its first call, OCR-EXTRACT, where only the tokens of the text that was read count."""
    text = f"{print_plan(reply.plan)}{TRACE_OPEN}\n{print_call(reply.trace[0], toolkit)}\n"
    return _weighted(tokenizer, text, _READ, 0.0)


def _weighted(tokenizer: Any, text: str, counting: re.Pattern[str], otherwise: float) -> Target:
    """Encode a text; tokens that share a character with group 1 of a match count 1."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    spans = [match.span(1) for match in counting.finditer(text)]
    weights = [
        1.0 if any(start < to and begin < end for begin, to in spans) else otherwise
        for start, end in encoded["offset_mapping"]
    ]
    return Target(list(encoded["input_ids"]), weights)


def picture_inputs(shown: Sequence[Any], processor: Any) -> dict[str, Tensor]:
    """Return `pixel_values` and `image_grid_thw` [pictures, 3] of pictures (PIL images or `Picture`), or of `Cells`.

    For `Cells`, `pixel_values` are their codes [cells, SLOTS], which `GlyphTower` looks up.
    """
    if isinstance(shown[0], Cells):
        grid = [[1, 2 * cells.height, 2 * cells.width] for cells in shown]
        return {
            "pixel_values": torch.cat([cells.codes for cells in shown]).float(),
            "image_grid_thw": torch.tensor(grid),
        }
    images = [one.image if isinstance(one, Picture) else one for one in shown]
    inputs = processor(images=images, return_tensors="pt")
    return {"pixel_values": inputs["pixel_values"], "image_grid_thw": inputs["image_grid_thw"]}


def pad(prompts: Sequence[list[int]], targets: Sequence[Target], pad_id: int, image_id: int) -> dict[str, Tensor]:
    """Pad prompts on the left and completions on the right, so that all completions begin at one column.

    Returns int64 [rows, columns] `input_ids`, `attention_mask`, `mm_token_type_ids`; `labels` and float `loss_weights` cover
    the last `labels.shape[1]` columns only.
    """
    before, after = max(map(len, prompts)), max((len(target.ids) for target in targets), default=0)
    ids = [
        [pad_id] * (before - len(p)) + p + t.ids + [pad_id] * (after - len(t.ids))
        for p, t in zip(prompts, targets, strict=True)
    ]
    seen = [
        [0] * (before - len(p)) + [1] * (len(p) + len(t.ids)) + [0] * (after - len(t.ids))
        for p, t in zip(prompts, targets, strict=True)
    ]
    input_ids = torch.tensor(ids)
    return {
        "input_ids": input_ids,
        "attention_mask": torch.tensor(seen),
        "mm_token_type_ids": (input_ids == image_id).int(),
        "labels": torch.tensor([t.ids + [IGNORED] * (after - len(t.ids)) for t in targets]),
        "loss_weights": torch.tensor([t.weights + [0.0] * (after - len(t.weights)) for t in targets]),
    }


@dataclass(frozen=True)
class DrawnWords:
    """The words of a picture: number of the cell in which each ends, and its token ids."""

    cells: int
    words: list[tuple[int, list[int]]]


def word_labels(drawn: Sequence[Sequence[DrawnWords]], is_picture: Tensor) -> Tensor:
    """Return int64 [rows, columns, WORD_TOKENS]: at the last cell of each word of a row's pictures its tokens, else `IGNORED`.

    `is_picture` [rows, columns] is true where a token is a cell.
    """
    labels = torch.full((*is_picture.shape, WORD_TOKENS), IGNORED)
    for row, some in enumerate(drawn):
        columns, first = is_picture[row].nonzero().flatten().tolist(), 0
        for picture in some:
            for cell, ids in picture.words:
                labels[row, columns[first + cell], : len(ids)] = torch.tensor(ids[:WORD_TOKENS])
            first += picture.cells
    return labels


def encode_prompts(
    tokenizer: Any, processor: Any, conversations: Sequence[Sequence[Turn]]
) -> tuple[list[list[int]], dict[str, Any]]:
    """Return the token ids of every conversation, and the tensors of all pictures in a row, none where there are none."""
    drawn = [pictures(turns) for turns in conversations]
    images = [image for one in drawn for image in one]
    inputs = picture_inputs(images, processor) if images else {}
    counts = iter((inputs["image_grid_thw"].prod(-1) // MERGE**2).tolist() if images else [])
    ids = [
        encode_prompt(tokenizer, turns, [next(counts) for _ in one])
        for turns, one in zip(conversations, drawn, strict=True)
    ]
    return ids, dict(inputs)


class Collator:
    """Makes a batch of row numbers into the inputs of a step."""

    def __init__(
        self,
        rows: Sequence[Row],
        recipe: Recipe,
        tokenizer: Any,
        toolkit: Toolkit,
        draw: Draw,
        processor: Any,
    ) -> None:
        """Keep what batches are made of."""
        self.rows, self.recipe, self.tokenizer, self.toolkit = rows, recipe, tokenizer, toolkit
        self.draw, self.processor = draw, processor
        self.image_id: int = tokenizer.convert_tokens_to_ids(IMAGE_PAD)

    def __call__(self, batch: Sequence[dict[str, int]]) -> dict[str, Tensor]:
        """Show the rows in one manner, all whole or all up to the decision, to waste no padding.

        Chance depends on the step and the place in it alone: a resumed run, or one of several processes, shows the same.
        """
        rng, recipe = Random(f"{self.recipe.seed} {batch[0]['step']}"), self.recipe
        manner, whole = self._manner(rng), rng.random() < recipe.whole
        draw = partial(self.draw, large=rng.random() < LARGE)
        rngs = [Random(f"{recipe.seed} {item['step']} {item['place']}") for item in batch]
        shown = [self._show(self.rows[item["row"]], manner, draw, one) for item, one in zip(batch, rngs, strict=True)]
        prompts, inputs = encode_prompts(self.tokenizer, self.processor, [one.turns for one in shown])
        noisy = [self._noisy(ids, one) for ids, one in zip(prompts, rngs, strict=True)]
        targets = [self._target(one.reply, whole, manner) for one in shown]
        padded = pad(noisy, targets, self.tokenizer.pad_token_id, self.image_id)
        if recipe.words and manner in ("picture", "reading", "spelling"):
            drawn = [[self._words(one) for one in pictures(each.turns)] for each in shown]
            padded["words"] = word_labels(drawn, padded["mm_token_type_ids"])
        return {**padded, **inputs}

    def _words(self, picture: Any) -> DrawnWords:
        """Return cell number and token ids of every word, without case and marks, as within a line of text."""
        cells = picture if isinstance(picture, Cells) else picture.cells
        plain = [(cell, word.lower().strip(_MARKS)) for cell, word in cells.words]
        named = [(cell, self.tokenizer.encode(f" {word}", add_special_tokens=False)) for cell, word in plain if word]
        return DrawnWords(len(cells.codes), named)

    def _manner(self, rng: Random) -> Manner:
        recipe = self.recipe
        if rng.random() < recipe.pictures:
            if rng.random() < recipe.spelling:
                return "spelling"
            return "reading" if rng.random() < recipe.readings else "picture"
        return "conversation" if rng.random() < recipe.dialogues else "text"

    def _target(self, reply: Reply, whole: bool, manner: Manner) -> Target:
        if manner == "spelling":
            return Target([], [])
        if manner == "reading":
            return encode_reading(self.tokenizer, reply, self.toolkit)
        text = print_reply(reply, self.toolkit) if whole else head_text(reply.plan)
        return encode_target(self.tokenizer, text, self.recipe.fixed_weight, ended=whole)

    def _show(self, row: Row, manner: Manner, draw: Draw, rng: Random) -> Shown:
        match manner:
            case "spelling":
                return show_spelling(row, draw, rng, self.toolkit)
            case "reading":
                return show_reading(row, draw, rng, self.toolkit)
            case "picture":
                return show_picture(row, draw, rng, self.toolkit)
            case "conversation":
                return show_conversation(row, self.rows, rng, self.toolkit)
            case "text":
                return show_text(row, rng, self.toolkit)

    def _noisy(self, ids: list[int], rng: Random) -> list[int]:
        """Drop or replace some ordinary tokens of two prompts in three; special tokens stay."""
        first_special = len(self.tokenizer) - len(self.tokenizer.added_tokens_decoder)
        if rng.random() < 0.33:
            return ids
        kept = []
        for token in ids:
            chance = rng.random()
            if token >= first_special or chance >= self.recipe.noise:
                kept.append(token)
            elif chance < self.recipe.noise / 2:
                kept.append(rng.randrange(first_special))
        return kept
