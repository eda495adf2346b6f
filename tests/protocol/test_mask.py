"""Masks for a whole batch, as a device unpacks them: the same as masks for each row."""

import pytest
import torch

from safer_protocol.constrain.mask import mask, mask_packed
from safer_protocol.constrain.row import Row

SIZE = 6000


@pytest.mark.parametrize("width", [6100, 6000, 5990], ids=["wider", "as wide", "narrower"])
@pytest.mark.parametrize("numbers", [[0, 1, 2], [2, 4, 0]], ids=["all rows", "some rows"])
def test_packed_masks_leave_just_their_rows(width: int, numbers: list[int]) -> None:
    rows = [Row.of(torch.randperm(5990)[:count].int().numpy(), SIZE) for count in (1, 50, 5000)]
    packed = torch.randn(max(numbers) + 1, width)
    single = packed.clone()
    mask_packed(packed, numbers, rows)
    for number, row in zip(numbers, rows, strict=True):
        mask(single[number], row)
    assert torch.equal(packed, single)
    assert packed.isfinite().sum(1)[numbers].tolist() == [1, 50, 5000]
