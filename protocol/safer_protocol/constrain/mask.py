"""Masks on logits: minus infinity for every token that may not come next."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from safer_protocol.constrain.row import Row

NARROW = 2048
"""On the CPU, rows of at most so many tokens are put back one by one; wider ones are masked."""


def mask(logits: torch.Tensor, row: Row) -> None:
    """Set all logits of shape (vocabulary,) to minus infinity in place, except those of a row."""
    if row.count <= NARROW:
        ids = torch.from_numpy(row.ids).to(logits.device)
        kept = logits[ids]
        logits.fill_(float("-inf"))
        logits[ids] = kept
        return
    flags: Any = torch.from_numpy(row.flags).to(logits.device)
    width = min(len(flags), logits.shape[0])
    logits[:width].masked_fill_(~flags[:width], float("-inf"))
    logits[width:] = float("-inf")


def mask_batch(logits: torch.Tensor, numbers: Sequence[int], rows: Sequence[Row]) -> None:
    """Mask the rows of that numbers of logits of shape (batch, vocabulary) in place."""
    if logits.device.type == "cpu":
        for number, row in zip(numbers, rows, strict=True):
            mask(logits[number], row)
    elif numbers:
        mask_packed(logits, numbers, rows)


def mask_packed(logits: torch.Tensor, numbers: Sequence[int], rows: Sequence[Row]) -> None:
    """Do the same in one pass for all: the packed bits travel to the device (19 kB a row) and are unpacked there.

    The host waits for nothing that the device has been given to do.
    """
    width = logits.shape[1]
    packed = _sent(torch.from_numpy(np.stack([row.bits for row in rows]).view(np.uint8)), logits.device)
    bits = torch.bitwise_left_shift(1, torch.arange(8, device=logits.device, dtype=torch.uint8))
    forbidden = (packed.unsqueeze(-1) & bits == 0).flatten(1)
    barred = torch.ones(len(rows), width, dtype=torch.bool, device=logits.device)
    shared = min(width, forbidden.shape[1])
    barred[:, :shared] = forbidden[:, :shared]
    if list(numbers) == list(range(logits.shape[0])):
        logits.masked_fill_(barred, float("-inf"))
    else:
        places = _sent(torch.tensor(numbers), logits.device)
        logits[places] = logits[places].masked_fill_(barred, float("-inf"))


def _sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Send to a device without waiting; memory that is not pinned would wait for all that the device has to do."""
    pinned = tensor.pin_memory() if device.type == "cuda" else tensor
    return pinned.to(device, non_blocking=True)
