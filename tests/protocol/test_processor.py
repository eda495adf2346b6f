"""The machine inside other people's generation loops: transformers and Outlines, on a random model."""

from typing import Any

import outlines
import pytest
import torch
from transformers import LogitsProcessorList, Qwen2Config, Qwen2ForCausalLM

from safer_protocol.constrain.machine import Machine
from safer_protocol.constrain.mask import mask
from safer_protocol.constrain.processor import MachineLogitsProcessor
from safer_protocol.constrain.row import Row
from safer_protocol.plan import Depth
from safer_protocol.toolkit import default_toolkit
from safer_protocol.verify import verify

TOOLKIT = default_toolkit()
ROOM = {"max_new_tokens": 1500, "pad_token_id": 0}


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> Any:
    """A random language model whose logits are wider than the vocabulary, as those of Qwen2.5 are."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer) + 37,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        bos_token_id=None,
    )
    return Qwen2ForCausalLM(config).eval()


def texts(tokenizer: Any, sequences: torch.Tensor, prompt: int) -> list[str]:
    return [tokenizer.decode(row[prompt:], skip_special_tokens=True) for row in sequences]


@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": False},
        {"do_sample": True, "temperature": 1.0},
        {"do_sample": True, "top_k": 5, "top_p": 0.9},
        {"do_sample": True, "num_return_sequences": 2},
        {"do_sample": False, "num_beams": 2},
    ],
    ids=["greedy", "sample", "top", "several", "beams"],
)
def test_a_batch_generated_by_transformers_is_valid(model: Any, tokenizer: Any, machine: Machine, options: Any) -> None:
    torch.manual_seed(1)
    prompt = tokenizer(["one", "a longer prompt"], return_tensors="pt", padding=True, padding_side="left").input_ids
    processor = MachineLogitsProcessor(machine, depth=Depth.BRIEF, answer_tokens=5)
    out = model.generate(prompt, logits_processor=LogitsProcessorList([processor]), **ROOM, **options)
    written = texts(tokenizer, out, prompt.shape[1])
    assert len(written) == 2 * options.get("num_return_sequences", 1)
    for text in written:
        assert verify(text, TOOLKIT).violations == (), text


def test_outlines_takes_it_as_its_processor(model: Any, tokenizer: Any, machine: Machine) -> None:
    torch.manual_seed(2)
    generator = outlines.Generator(
        outlines.from_transformers(model, tokenizer),
        processor=MachineLogitsProcessor(machine, depth=Depth.BRIEF, answer_tokens=5),
    )
    for text in (generator("one", do_sample=True, **ROOM), generator("two", do_sample=True, **ROOM)):
        assert isinstance(text, str)
        assert verify(text, TOOLKIT).valid, text
    for text in generator.batch(["one", "two"], do_sample=True, **ROOM):
        assert verify(str(text), TOOLKIT).valid, text


@pytest.mark.parametrize("count", [1, 50, 5000])
def test_a_mask_leaves_just_its_row(count: int) -> None:
    row = Row.of(torch.randperm(6000)[:count].sort().values.int().numpy(), 6000)
    logits = torch.randn(6100)
    before = logits.clone()
    mask(logits, row)
    left = torch.isfinite(logits).nonzero().flatten()
    assert left.tolist() == row.ids.tolist()
    assert torch.equal(logits[left], before[left])
