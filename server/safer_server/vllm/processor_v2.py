"""The mask machine as a logits processor of vLLM's model runner V2, the default on CUDA. Experimental: it has not run on a GPU.

`--logits-processors safer_server.vllm.processor_v2:MaskMachine`. The contract is that of vLLM 0.31. The front end imports this
module to check requests, so what only the worker needs is imported there.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext, LogitsProcessor, LogitsProcRequestState

from safer_server.vllm.options import check

if TYPE_CHECKING:
    import torch

    from safer_protocol.constrain.batch import Followed
    from safer_protocol.constrain.row import Row
    from safer_server.vllm.written import Written


@dataclass
class _Reply:
    """The reply in a slot, and the tokens of it that have been fetched."""

    slot: int
    start: int
    """The length of the prompt."""
    output: list[int]
    followed: "Followed"

    def allowed(self, written: "Written") -> "Row":
        """Fetch what is new and say what may come next."""
        self.output += written.since(self.slot, self.start + len(self.output))
        return self.followed.allowed()


class MaskMachine(LogitsProcessor):  # type: ignore[misc]  # vLLM is not installed where types are checked
    """Constrains every request of the batch, unless its options say otherwise."""

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Raise ValueError where a request's options are wrong or contradict the machine."""
        check(sampling_params)

    def __init__(self, vllm_config: Any, req_states: LogitsProcRequestState) -> None:
        """Load the machines of this worker."""
        from safer_server.vllm.machines import Machines
        from safer_server.vllm.written import Written

        # This runner, unlike V1, lets custom processors and drafts meet; the rows of drafts would get the mask of the first one.
        if vllm_config.num_speculative_tokens:
            raise ValueError("the mask machine masks one token a step: start vLLM without speculative decoding")
        self._machines = Machines(vllm_config.model_config)
        self._prompt_lengths = req_states.prompt_len
        self._written = Written(req_states)
        self._replies: dict[int, _Reply] = {}

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """Begin a reply in a slot, whatever was there before: nothing tells when a request leaves."""
        from safer_protocol.constrain.batch import Followed

        start = int(self._prompt_lengths.np[req_idx])
        cursor = self._machines.cursor(sampling_params, start)
        if cursor is None:
            self._replies.pop(req_idx, None)
            return False
        output: list[int] = []
        self._replies[req_idx] = _Reply(req_idx, start, output, Followed(cursor, output))
        return True

    def apply_staged_writes(self) -> None:
        """Begin to fetch what the steps so far have written."""
        self._written.fetch()

    def apply(self, logits: "torch.Tensor", ctx: LogitsContext) -> "torch.Tensor":
        """Mask logits of shape (batch, vocabulary) in place."""
        from safer_protocol.constrain.mask import mask_batch

        self._written.wait()
        # Without drafts a request has one row, in the order of `idx_mapping_np`.
        found = [(place, self._replies.get(slot)) for place, slot in enumerate(ctx.idx_mapping_np.tolist())]
        replies = {place: reply for place, reply in found if reply is not None}
        mask_batch(logits, list(replies), [reply.allowed(self._written) for reply in replies.values()])
        return logits
