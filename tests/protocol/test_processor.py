"""The machine inside other people's generation loops: transformers and Outlines, on a random model."""

import re
from io import BytesIO
from pathlib import Path
from typing import Any

import outlines
import pytest
import torch
from PIL import Image
from transformers import LogitsProcessorList, Qwen2_5_VLForConditionalGeneration, Qwen2Config, Qwen2ForCausalLM

from safer_protocol.constrain.cache import compile_blocks
from safer_protocol.constrain.machine import Machine
from safer_protocol.constrain.mask import mask
from safer_protocol.constrain.picture_processor import PictureProcessor
from safer_protocol.constrain.processor import MachineLogitsProcessor
from safer_protocol.constrain.row import Row
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.plan import Depth
from safer_protocol.prompt import ImagePart, Turn, encode_prompt
from safer_protocol.toolkit import default_toolkit
from safer_protocol.verify import verify
from safer_training.checkpoint import build

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


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2.5-VL."""
    folder = tmp_path_factory.mktemp("checkpoint") / "random"
    build(folder, "1m", TOOLKIT, ["What is this? It is a paper boat."])
    return folder


@pytest.fixture(scope="module")
def seeing(checkpoint: Path) -> Any:
    """The random Qwen2.5-VL under Outlines."""
    torch.set_num_threads(1)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    return outlines.from_transformers(model, PictureProcessor.from_pretrained(checkpoint))


@pytest.fixture(scope="module")
def seeing_machine(seeing: Any) -> Machine:
    """The machine on the vocabulary of the random Qwen2.5-VL."""
    vocabulary = Vocabulary.from_tokenizer(seeing.hf_tokenizer)
    return Machine(TOOLKIT, vocabulary, compile_blocks(TOOLKIT, vocabulary))


def picture(color: str, size: tuple[int, int] = (60, 40)) -> outlines.inputs.Image:
    file = BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return outlines.inputs.Image(Image.open(file))


def asked(text: str, *pictures: outlines.inputs.Image) -> outlines.inputs.Chat:
    shown = [{"type": "image", "image": one} for one in pictures]
    return outlines.inputs.Chat([{"role": "user", "content": [*shown, {"type": "text", "text": text}]}])


@pytest.mark.parametrize(
    "question",
    [
        asked("What is this?", picture("red")),
        asked("Are these alike?", picture("red", (200, 90)), picture("blue", (28, 28))),
        asked("No picture at all."),
        [
            "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|><|im_end|>\n<|im_start|>assistant\n",
            picture("red"),
        ],
    ],
    ids=["picture", "pictures", "text", "list"],
)
def test_outlines_takes_pictures(seeing: Any, seeing_machine: Machine, question: Any) -> None:
    torch.manual_seed(3)
    constraint = MachineLogitsProcessor(seeing_machine, depth=Depth.BRIEF, limit=300)
    text = outlines.Generator(seeing, processor=constraint)(question, do_sample=True, max_new_tokens=300)
    assert isinstance(text, str)
    assert verify(text, TOOLKIT).violations == (), text


def test_outlines_takes_a_batch_of_pictures(seeing: Any, seeing_machine: Machine) -> None:
    torch.manual_seed(4)
    generator = outlines.Generator(seeing, processor=MachineLogitsProcessor(seeing_machine, limit=400))
    questions = [asked("What is this?", picture("red")), asked("And this, please?", picture("blue", (300, 100)))]
    texts = generator.batch(questions, do_sample=True, max_new_tokens=400)
    assert len(texts) == 2
    for text in texts:
        assert verify(text, TOOLKIT).violations == (), text


def test_outlines_asks_as_the_server_does(seeing: Any) -> None:
    """The tokens of a conversation with a picture are those that the server's own encoding gives."""
    question = asked("What is this?", picture("red"))
    _, inputs = seeing._prepare_model_inputs(question)
    grid = inputs["image_grid_thw"][0]
    turn = Turn("user", (ImagePart(None), "What is this?"))
    counts = [int(grid.prod()) // seeing.processor.image_processor.merge_size**2]
    assert inputs["input_ids"][0].tolist() == encode_prompt(seeing.hf_tokenizer, (turn,), counts)


def test_the_example_with_a_picture_runs(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "constraining.md").read_text()
    (example,) = (part for part in re.findall("```python\n(.*?)```", page, re.DOTALL) if "PictureProcessor" in part)
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (60, 40), "red").save("sign.png")
    names: dict[str, Any] = {}
    exec(example.replace("server/safer_server/checkpoints/tiny", str(checkpoint)).replace("1024", "300"), names)
    assert names["report"].valid
    assert [verify(text, TOOLKIT).valid for text in names["replies"]] == [True, True]
