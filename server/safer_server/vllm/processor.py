"""The mask machine as a logits processor of vLLM's model runner V1.

`--logits-processors safer_server.vllm.processor:MaskMachine`, never an entry point: vLLM then hides tokens from it under
asynchronous scheduling. The contract is that of vLLM 0.31.
"""

from typing import Any

import torch
from vllm.v1.sample.logits_processor.interface import BatchUpdate, LogitsProcessor, MoveDirectionality

from safer_protocol.constrain.batch import Batch
from safer_protocol.constrain.mask import mask_batch
from safer_server.vllm.machines import Machines
from safer_server.vllm.options import check


class MaskMachine(LogitsProcessor):  # type: ignore[misc]  # vLLM is not installed where types are checked
    """Constrains every request of the batch, unless its options say otherwise."""

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Raise ValueError where a request's options are wrong or contradict the machine."""
        check(sampling_params)

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        """Load the machines of this worker."""
        self._machines = Machines(vllm_config.model_config)
        self._batch = Batch()

    def is_argmax_invariant(self) -> bool:
        """No: greedy requests need the mask as well."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Take note of who left, entered (also into a slot that nobody left) and moved, in this order."""
        if batch_update is None:
            return
        for slot in batch_update.removed:
            self._batch.leave(slot)
        for slot, params, prompt, output in batch_update.added:
            self._batch.enter(slot, self._machines.cursor(params, len(prompt or ())), output)
        for source, target, direction in batch_update.moved:
            if direction is MoveDirectionality.SWAP:
                self._batch.swap(source, target)
            else:
                self._batch.move(source, target)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Mask logits of shape (batch, vocabulary) in place."""
        mask_batch(logits, *self._batch.rows())
        return logits
