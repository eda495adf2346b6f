"""vLLM's model runner V2 without model and GPU: its own request tables, its order of calls, random logits.

`Runner` does to the tables what the runner's kernels do. `serve` schedules as vLLM does, asynchronously: a step is put together
before the tokens of the one before are known, so a reply that has ended is run once more for nothing.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
import vllm.v1.worker.cpu.buffer_utils as cpu_buffers
import vllm.v1.worker.gpu.buffer_utils as gpu_buffers
from vllm import SamplingParams
from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext, build_custom_logits_processors
from vllm.v1.worker.gpu.states import RequestState

PROCESSOR = "safer_server.vllm.processor_v2:MaskMachine"
BUDGET = 40
"""Tokens that a step may feed; longer prompts come in chunks."""


class _WriteKernel:
    """What `_apply_write_kernel` does."""

    def __getitem__(self, _: Any) -> Any:
        return self._write

    def _write(self, output: Any, stride: int, *arguments: Any, **_: Any) -> None:
        rows, starts, contents, ends, _ = arguments
        begin = 0
        for row, start, end in zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True):
            place = row * stride + start
            output.view(-1)[place : place + end - begin] = contents[begin:end]
            begin = end


def tables_on_cpu(patch: pytest.MonkeyPatch) -> None:
    """Let vLLM's tables live in ordinary memory, as its CPU platform does where there is Triton."""
    patch.setattr(gpu_buffers, "UvaBuffer", cpu_buffers.UvaBuffer)
    patch.setattr(gpu_buffers, "_apply_write_kernel", _WriteKernel())


@dataclass
class Job:
    """One request and what came of it."""

    params: SamplingParams
    prompt: list[int]
    cached: int = 0
    """Tokens of the prompt that the prefix cache holds."""
    output: list[int] = field(default_factory=list)
    ended: bool = False
    barred: list[int] = field(default_factory=list)
    """By step that sampled: how many tokens were masked."""
    preempted: int = 0
    aborted: bool = False


class Runner:
    """The part of `GPUModelRunner` that a logits processor sees."""

    def __init__(self, config: Any, slots: int, vocabulary: int) -> None:
        """Load the processor as vLLM does."""
        length = config.model_config.max_model_len
        self.states = RequestState(slots, length, BUDGET, 0, vocabulary, torch.device("cpu"))
        (self.processor,) = build_custom_logits_processors(config, self.states, False, (PROCESSOR,))
        self._processed = np.zeros(slots, dtype=bool)

    def leave(self, names: Sequence[str]) -> None:
        """Free slots; a processor is not told."""
        for name in names:
            self.states.remove_request(name)

    def enter(self, name: str, job: Job) -> None:
        """Put a request into a free slot, with what it had written before it was preempted."""
        tokens = job.prompt + job.output
        computed = 0 if job.preempted else job.cached
        self.states.add_request(name, len(job.prompt), tokens, computed, job.params.max_tokens or 1)
        slot = self.states.req_id_to_index[name]
        self._processed[slot] = self.processor.add_request(slot, job.params)

    def step(self, names: Sequence[str], fed: Mapping[str, int], jobs: Mapping[str, Job]) -> dict[str, int]:
        """Run one step over rows in this order; return the tokens that were sampled and kept."""
        self.states.apply_staged_writes()
        self.processor.apply_staged_writes()
        slots = np.array([self.states.req_id_to_index[name] for name in names], dtype=np.intp)
        before = self.states.num_computed_tokens.gpu[slots]
        lengths = before + torch.tensor([fed[name] for name in names], dtype=torch.int32)
        logits = torch.randn(len(names), self.states.vocab_size)
        if self._processed[slots].any():
            logits = self.processor.apply(logits, self._context(slots, lengths))
        sampled = torch.multinomial(logits.softmax(1), 1).squeeze(1).tolist()
        return {
            name: token
            for name, slot, length, row, token in zip(names, slots, lengths.tolist(), logits, sampled, strict=True)
            if self._update(int(slot), length, token, jobs[name], row)
        }

    def _context(self, slots: Any, lengths: torch.Tensor) -> LogitsContext:
        mapping = torch.from_numpy(slots).int()
        fed = self.states.all_token_ids.gpu[slots, (lengths - 1).long()]
        return LogitsContext(mapping, mapping, slots, torch.zeros_like(mapping), fed, lengths - 1, lengths.numpy())

    def _update(self, slot: int, length: int, token: int, job: Job, row: torch.Tensor) -> bool:
        """Do what `post_update` does; False where the prompt goes on and the sample is thrown away."""
        self.states.num_computed_tokens.gpu[slot] = length
        if length < self.states.prefill_len.np[slot]:
            return False
        job.barred.append(int(row.isinf().sum()))
        total = int(self.states.total_len.gpu[slot])
        self.states.all_token_ids.gpu[slot, total] = token
        self.states.total_len.gpu[slot] = total + 1
        return True


def serve(runner: Runner, jobs: Mapping[str, Job], eos: int, chance: random.Random) -> None:
    """Serve all jobs; now and then one is preempted, another aborted, and some are left out of a step."""
    waiting, running = list(jobs), dict[str, int]()
    flying: dict[str, int] = {}
    while waiting or running or flying:
        left = [name for name in running if jobs[name].ended]
        preempted = [name for name in running if name not in left and chance.random() < 0.01]
        aborted = [name for name in running if name not in left + preempted and chance.random() < 0.0005]
        for name in left + preempted + aborted:
            del running[name]
            jobs[name].preempted += name in preempted
            jobs[name].aborted |= name in aborted
        runner.leave(sorted(left + preempted + aborted))
        while waiting and len(running) < runner.states.max_num_reqs:
            name = waiting.pop(0)
            runner.enter(name, jobs[name])
            running[name] = 0 if jobs[name].preempted else jobs[name].cached
        fed = _scheduled(jobs, running, flying, chance)
        names = chance.sample(sorted(fed), len(fed))
        sampled = runner.step(names, fed, jobs) if fed else {}
        for name, count in fed.items():
            running[name] += count
        for name, token in flying.items():
            _deliver(jobs[name], token, eos)
        flying = sampled
        waiting[:0] = [name for name in preempted if not jobs[name].ended]


def _scheduled(
    jobs: Mapping[str, Job], running: Mapping[str, int], flying: Mapping[str, int], chance: random.Random
) -> dict[str, int]:
    fed: dict[str, int] = {}
    for name, computed in running.items():
        job = jobs[name]
        known = len(job.prompt) + len(job.output) + (name in flying)
        count = min(known - computed, BUDGET - sum(fed.values()))
        full = len(job.output) + (name in flying) >= (job.params.max_tokens or 0)
        if count > 0 and not full and chance.random() < 0.9:
            fed[name] = count
    return fed


def _deliver(job: Job, token: int, eos: int) -> None:
    if job.ended or job.aborted:
        return
    job.output.append(token)
    job.ended = token == eos or len(job.output) >= (job.params.max_tokens or 0)
