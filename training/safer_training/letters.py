"""Teaches the vision tower letters: each merged token must come out as the vector of the characters in its cell.

We draw the pictures, so every cell's characters are known: a dense label for every token, where a transcription loss gives
one for the whole picture. Loss a slot: cross-entropy of v . U[k] over the characters; a cell: squared distance of v to
the sum of U[k, c_k]. U is fixed (`glyphs`), so the language model can learn to read it without a single picture.
"""

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from random import Random
from typing import Any

import torch
from PIL import Image
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, IterableDataset

from safer_training.checkpoint import computes_bfloat16, image_processor
from safer_training.glyphs import BLANK, CHARACTERS, SCALE, Cells, embed, glyph_table
from safer_training.render import Picture, draw, scene, without_text

log = logging.getLogger(__name__)

TOWER_FILE = "visual.safetensors"
_STATE_FILE = "letters.pt"
_SHARPNESS = 12.0
_TEACHING_SCALE = 0.5
"""Cell vectors are this large while the tower is taught: at their true size one step would overthrow the last layer."""


@dataclass(frozen=True)
class LettersRecipe:
    """How the tower is taught; a step sees pictures of about `cells` cells together."""

    steps: int = 8000
    cells: int = 500
    rate: float = 2e-3
    warmup: int = 100
    decay: float = 0.3
    without_text: float = 0.06
    seed: int = 0
    save_every: int = 250


@dataclass(frozen=True)
class Batch:
    """Pictures as the tower takes them; `codes` [cells, SLOTS], `weights` [cells]."""

    pixels: Tensor
    grid: Tensor
    codes: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return Batch(*(part.to(device) for part in (self.pixels, self.grid, self.codes, self.weights)))


@dataclass(frozen=True)
class Reading:
    """How well pictures are read: characters right where there is one, blanks kept blank, likeness of whole texts."""

    characters: float
    blanks: float
    likeness: float


class PictureStream(IterableDataset[Batch]):
    """Endless batches of drawn pictures; batch number n is the same whenever it is drawn."""

    def __init__(self, texts: Sequence[str], photos: Sequence[Path], recipe: LettersRecipe, first: int = 0) -> None:
        self.texts, self.photos, self.recipe, self.first = texts, photos, recipe, first

    def __iter__(self) -> Iterator[Batch]:
        processor = image_processor()
        for step in range(self.first, self.recipe.steps):
            rng = Random(f"{self.recipe.seed}:{step}")
            pictures, cells = [], 0
            while cells < self.recipe.cells:
                pictures.append(self._picture(rng, step / self.recipe.steps))
                cells += len(pictures[-1].cells.codes)
            yield batch(pictures, processor)

    def _picture(self, rng: Random, progress: float) -> Picture:
        if rng.random() < self.recipe.without_text:
            return without_text(Image.open(rng.choice(self.photos)).convert("RGB")) if self.photos else scene(rng)
        text = excerpt(f"{rng.choice(self.texts)} {rng.choice(self.texts)}", rng, most=45)
        easy = rng.random() < max(0.25, min(1.0, 1.2 - 2 * progress))
        return draw(text, rng, "easy" if easy else "seen")


def excerpt(text: str, rng: Random, most: int) -> str:
    """A run of words of `text`, now and then in other case, and now and then with words of mixed characters."""
    words = text.split() or ["?"]
    start = 0 if rng.random() < 0.3 else rng.randrange(len(words))
    words = words[start : start + max(rng.randint(1, most), rng.randint(1, most))]
    if rng.random() < 0.12:
        words = ["".join(rng.choices(CHARACTERS[2:], k=rng.randint(1, 8))) for _ in words]
    chance = rng.random()
    chosen = " ".join(word[:20] for word in words)
    return chosen.upper() if chance < 0.06 else chosen.title() if chance < 0.12 else chosen


def batch(pictures: Sequence[Picture], processor: Any) -> Batch:
    """Runs pictures through the checkpoint's image processor and stacks their labels."""
    inputs = processor(images=[picture.image for picture in pictures], return_tensors="pt")
    codes = torch.cat([picture.cells.codes for picture in pictures])
    weights = torch.cat([torch.full((len(p.cells.codes),), 1.0 if p.text else 0.3) for p in pictures])
    return Batch(inputs["pixel_values"].bfloat16(), inputs["image_grid_thw"], codes, weights)


def train_letters(
    tower: Any,
    texts: Sequence[str],
    directory: Path,
    recipe: LettersRecipe,
    photos: Sequence[Path] = (),
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Trains `tower` (the `visual` of a Qwen2.5-VL) in place; goes on from `directory`, where state and weights are kept.

    `on_step` is told the number of steps done and the loss.
    """
    directory.mkdir(parents=True, exist_ok=True)
    device = next(tower.parameters()).device
    table = glyph_table(tower.config.out_hidden_size, _TEACHING_SCALE).to(device)
    optimizer = _optimizer(tower, recipe)
    first = _resume(directory, tower, optimizer)
    stream = PictureStream(texts, photos, recipe, first)
    loader = DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=4)
    tower.train()
    mean = 0.0
    for step, fetched in zip(range(first, recipe.steps), track(loader, "letters", recipe.steps - first), strict=True):
        drawn = fetched.to(device)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _schedule(step, recipe)
        with sdpa_kernel(SDPBackend.MATH):  # a fifth faster on a CPU than the fused kernel, for windows of 64 patches
            with torch.autocast(device.type, torch.bfloat16, enabled=computes_bfloat16()):
                seen = look(tower, drawn)
            loss = letters_loss(seen, drawn, table)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        mean = loss.item() if step == first else 0.98 * mean + 0.02 * loss.item()
        if (step + 1) % recipe.save_every == 0 or step + 1 == recipe.steps:
            _save_state(directory, step + 1, tower, optimizer)
            save_tower(tower, directory, SCALE / _TEACHING_SCALE)
            log.info("letters step %d of %d: loss %.3f", step + 1, recipe.steps, mean)
        on_step(step + 1, loss.item())
    _rescale(tower, SCALE / _TEACHING_SCALE)
    tower.eval()


def look(tower: Any, drawn: Batch) -> Tensor:
    """The merged tokens [cells, hidden] of a batch, in float32."""
    merged: Tensor = tower(drawn.pixels.to(next(tower.parameters()).dtype), drawn.grid).pooler_output
    return merged.float()


def letters_loss(seen: Tensor, drawn: Batch, table: Tensor) -> Tensor:
    """Cross-entropy of each slot plus squared distance to the cell's vector, weighted by picture."""
    entropy = functional.cross_entropy(_scores(seen, table).flatten(0, 1), drawn.codes.flatten(), reduction="none")
    importance = torch.where(drawn.codes == BLANK, 0.5, 1.0)
    distance = (seen - embed(drawn.codes, table)).square().mean(-1) / table.square().sum(-1).mean() * seen.shape[-1]
    return ((entropy.view_as(drawn.codes) * importance).sum(-1) + distance).mul(drawn.weights).mean()


def decode(seen: Tensor, table: Tensor) -> Tensor:
    """The codes [cells, SLOTS] that merged tokens [cells, hidden] are nearest to."""
    return _scores(seen, table).argmax(-1)


@torch.no_grad()
def measure(tower: Any, pictures: Sequence[Picture], processor: Any) -> Reading:
    """Reads pictures cell by cell and compares with what was drawn."""
    device = next(tower.parameters()).device
    table = glyph_table(tower.config.out_hidden_size).to(device)
    right = drawn_characters = kept = drawn_blanks = 0
    likeness = 0.0
    for picture in pictures:
        one = batch([picture], processor).to(device)
        codes = decode(look(tower, one), table)
        text, same = one.codes != BLANK, codes == one.codes
        right, drawn_characters = right + int(same[text].sum()), drawn_characters + int(text.sum())
        kept, drawn_blanks = kept + int(same[~text].sum()), drawn_blanks + int((~text).sum())
        read = Cells(picture.cells.height, picture.cells.width, codes.cpu()).text()
        likeness += SequenceMatcher(None, read, picture.text, autojunk=False).ratio()
    return Reading(right / max(1, drawn_characters), kept / max(1, drawn_blanks), likeness / len(pictures))


def save_tower(tower: Any, directory: Path, factor: float = 1.0) -> None:
    """Writes the tower's weights, its output scaled, under the names that they have in a Qwen2.5-VL checkpoint."""
    tower = copy.deepcopy(tower)
    _rescale(tower, factor)
    weights = {f"visual.{name}": value.bfloat16().contiguous() for name, value in tower.state_dict().items()}
    save_file(weights, directory / TOWER_FILE, metadata={"format": "pt"})


def load_tower(tower: Any, directory: Path) -> None:
    """Loads what `save_tower` wrote into a tower of the same shape."""
    weights = load_file(directory / TOWER_FILE)
    tower.load_state_dict({name.removeprefix("visual."): value for name, value in weights.items()})


def _scores(seen: Tensor, table: Tensor) -> Tensor:
    """Likeness [cells, SLOTS, characters]: `_SHARPNESS` where a token is exactly that character's vector."""
    return torch.einsum("nh,kch->nkc", seen, table) * (_SHARPNESS / table.square().sum(-1).mean())


@torch.no_grad()
def _rescale(tower: Any, factor: float) -> None:
    """Scales what the tower puts out."""
    for parameter in tower.merger.mlp[-1].parameters():
        parameter.mul_(factor)


def _optimizer(tower: Any, recipe: LettersRecipe) -> torch.optim.Optimizer:
    """AdamW; the patch embedding goes slowly, for its 1,176 inputs are nearly equal on paper and all move it one way."""
    slow = list(tower.patch_embed.parameters())
    rest = [parameter for name, parameter in tower.named_parameters() if not name.startswith("patch_embed.")]
    groups = [{"params": rest, "peak": recipe.rate}, {"params": slow, "peak": recipe.rate / 20}]
    return torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.95), weight_decay=0.01)


def _schedule(step: int, recipe: LettersRecipe) -> float:
    left = (recipe.steps - step) / max(1.0, recipe.decay * recipe.steps)
    return min(1.0, (step + 1) / recipe.warmup, left)


def _save_state(directory: Path, step: int, tower: Any, optimizer: torch.optim.Optimizer) -> None:
    """Writes beside the last state first, so that a run killed meanwhile can still go on from that."""
    fresh = directory / f"{_STATE_FILE}.new"
    torch.save({"step": step, "tower": tower.state_dict(), "optimizer": optimizer.state_dict()}, fresh)
    fresh.replace(directory / _STATE_FILE)


def _resume(directory: Path, tower: Any, optimizer: torch.optim.Optimizer) -> int:
    if not (directory / _STATE_FILE).is_file():
        return 0
    state = torch.load(directory / _STATE_FILE, weights_only=True)
    tower.load_state_dict(state["tower"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
