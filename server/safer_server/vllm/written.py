"""What the slots of vLLM's model runner V2 hold, on the host in time for the next mask.

The runner keeps tokens on the device: a step's sample is written to its tables behind the sampling, and nothing tells the host.
`apply_staged_writes` is the only hook between that and the next forward pass on the runner's stream. A copy that begins there on a
stream of its own waits for the samples so far but not for the pass enqueued next, which then runs while the host reads and
masks. Nothing is sampled before the mask of the step, so what is copied cannot change until it is read.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcRequestState


class Written:
    """The lengths of all slots and their last tokens; more of a slot is fetched where it is asked for."""

    def __init__(self, states: LogitsProcRequestState) -> None:
        """Follow the tables of a runner."""
        self._states = states
        on_gpu = states.device.type == "cuda"
        self._stream: Any = torch.cuda.Stream(states.device, priority=-1) if on_gpu else None  # type: ignore[no-untyped-call]
        self._copied: Any = torch.cuda.Event(blocking=True) if on_gpu else None  # type: ignore[no-untyped-call]
        self._lengths = torch.zeros(states.max_num_reqs, dtype=torch.int32, pin_memory=on_gpu)
        self._last = torch.zeros(states.max_num_reqs, dtype=torch.int32, pin_memory=on_gpu)

    def fetch(self) -> None:
        """Begin to copy what has been written; to be called before the forward pass."""
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream())
        with self._aside():
            lengths = self._states.total_len.gpu
            places = (lengths - 1).clamp_(min=0).long().unsqueeze(1)
            self._lengths.copy_(lengths, non_blocking=True)
            self._last.copy_(self._states.all_token_ids.gpu.gather(1, places).squeeze(1), non_blocking=True)
        if self._copied is not None:
            self._copied.record(self._stream)

    def wait(self) -> None:
        """Wait for the copy."""
        if self._copied is not None:
            self._copied.synchronize()

    def since(self, slot: int, start: int) -> list[int]:
        """Return a slot's tokens from a position on: one of a running request, all of one that was preempted and resumed."""
        end = int(self._lengths[slot])
        if end - start == 1:
            return [int(self._last[slot])]
        if end <= start:
            return []
        with self._aside():
            tokens: list[int] = self._states.all_token_ids.gpu[slot, start:end].tolist()
        return tokens

    def _aside(self) -> AbstractContextManager[object]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)
