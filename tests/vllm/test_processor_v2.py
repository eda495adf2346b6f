"""The mask machine in vLLM's model runner V2: whatever the runner does to a request, its reply is valid."""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("vllm")

from vllm import SamplingParams
from vllm.exceptions import VLLMValidationError
from vllm.v1.worker.gpu.sample.logits_processor import build_custom_logits_processors_params_validator

import safer_server
from runner_v2 import PROCESSOR, Job, Runner, serve, tables_on_cpu
from safer_protocol.plan import Depth, Plan, Topology
from safer_protocol.text import given_text
from safer_protocol.toolkit import default_toolkit
from safer_protocol.verify import verify
from safer_server.vllm.options import MachineOptions

TOOLKIT = default_toolkit()
CHECKPOINT = Path(safer_server.__file__).parent / "checkpoints" / "tiny"
LONGEST, VOCABULARY, EOS = 900, 4096, 4084
PLAN = Plan(
    category="none",
    risk="none",
    persona="assistant",
    topology=Topology.LINEAR,
    depth=Depth.BRIEF,
    tools=("KEYWORD-FLAGGING", "INTENT-RADAR", "BENIGN-READING", "SAFETY-GATE"),
)
SHORT = MachineOptions(answer_tokens=12)
KINDS = {
    "default": SHORT,
    "brief": MachineOptions(depth=Depth.BRIEF, answer_tokens=5),
    "given": MachineOptions(plan=PLAN, answer_tokens=5),
    "limited": MachineOptions(depth=Depth.BRIEF),
    "free": MachineOptions(constrain=False),
}
TOKENS = {"limited": 220, "free": 40}
"""The `max_tokens` of requests; the others have room for all that a reply may need."""


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="module", autouse=True)
def _tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        tables_on_cpu(patch)
        yield


def config(drafts: int = 0) -> Any:
    model = SimpleNamespace(tokenizer=str(CHECKPOINT), tokenizer_revision=None, max_model_len=LONGEST)
    return SimpleNamespace(model_config=model, num_speculative_tokens=drafts)


def params(options: MachineOptions, **given: Any) -> SamplingParams:
    return SamplingParams(extra_args=options.arguments(), **{"max_tokens": 700} | given)


def job(kind: str, chance: random.Random) -> Job:
    """A request with a prompt of random tokens, part of which may be in the prefix cache."""
    length = chance.choice([1, 5, 39, 41, 130])
    prompt = [chance.randrange(4000) for _ in range(length)]
    return Job(params(KINDS[kind], max_tokens=TOKENS.get(kind, 700)), prompt, chance.randrange(length))


def served(kinds: list[str], slots: int, seed: int) -> dict[str, Job]:
    torch.manual_seed(seed)
    chance = random.Random(seed)
    jobs = {f"{number}-{kind}": job(kind, chance) for number, kind in enumerate(kinds)}
    serve(Runner(config(), slots, VOCABULARY), jobs, eos=EOS, chance=chance)
    return jobs


@pytest.mark.parametrize("seed", range(3))
def test_every_reply_verifies(tokenizer: Any, seed: int) -> None:
    chance = random.Random(seed)
    jobs = served(chance.choices(list(KINDS), k=24), slots=6, seed=seed)
    written = {name: one for name, one in jobs.items() if not one.aborted}
    assert sum(one.preempted for one in written.values()) > 5
    assert len(written) > 18
    for name, one in written.items():
        kind = name.split("-")[1]
        if kind == "free":
            assert set(one.barred) == {0}
            continue
        assert 0 not in one.barred
        assert len(one.output) <= TOKENS.get(kind, 700)
        text = given_text(KINDS[kind].plan) + tokenizer.decode(one.output, skip_special_tokens=True)
        assert verify(text, TOOLKIT).violations == (), text


def test_a_slot_forgets_who_was_in_it() -> None:
    jobs = served(["free", "brief", "given", "free", "brief", "free"], slots=2, seed=7)
    for name, one in jobs.items():
        assert one.aborted or (set(one.barred) == {0}) is ("free" in name)


def test_requests_are_checked_as_the_front_end_does() -> None:
    check = build_custom_logits_processors_params_validator((PROCESSOR,))
    check(params(SHORT))
    check(SamplingParams())
    for wrong in (params(SHORT, stop=["</answer>"]), SamplingParams(extra_args={"safer": {"dept": "full"}})):
        with pytest.raises(VLLMValidationError):
            check(wrong)


def test_the_front_end_gets_no_machine_and_no_runner() -> None:
    heavy = ("triton", "outlines_core", "vllm.v1.worker.gpu.states", "safer_protocol.constrain.machine")
    code = f"import sys, safer_server.vllm.processor_v2; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_drafts_are_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="speculative"):
        Runner(config(drafts=2), 1, VOCABULARY)
