"""A transformers checkpoint in this process, on the CPU or one GPU: the embedded default.

The loop is our own because the mask machine names the few tokens that may come next: only their logits are looked at, and a
position with one of them needs no drawing. Requests are served one at a time, in the order in which they came.
"""

import asyncio
import codecs
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_path
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize
from transformers.utils import logging

from safer_protocol.constrain.cache import BlockCache, Progress
from safer_protocol.constrain.forced import forced_tokens
from safer_protocol.constrain.machine import Machine
from safer_protocol.constrain.row import Ids
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.prompt import IMAGE_PAD, encode_prompt, pictures
from safer_protocol.text import given_text
from safer_protocol.toolkit import Toolkit
from safer_server.engines.base import (
    ConstraintMode,
    ContextLengthError,
    EngineError,
    EngineRequest,
    Origin,
    Piece,
    ReplicaStatus,
    Sampling,
)

ORIGIN = Origin("0", ConstraintMode.MACHINE)

SMALL = 50_000_000
"""Parameters up to which one CPU thread is fastest: more only wait for one another, badly so on a busy machine."""


class HfEngine:
    """Serves one checkpoint; `stream` may be called from one event loop, any number of times at once."""

    name = "hf"

    def __init__(self, checkpoint: Path, toolkits: Sequence[Toolkit], progress: Progress | None = None) -> None:
        """Load a checkpoint from its directory, and compile or load a mask machine for each toolkit that will be asked for."""
        logging.disable_progress_bar()
        self.model = checkpoint.name
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.bfloat16 if self._device.type == "cuda" else torch.float32
        self._tokenizer: Any = AutoTokenizer.from_pretrained(checkpoint)
        vocabulary = Vocabulary.from_tokenizer(self._tokenizer)
        self._images: Any = Qwen2VLImageProcessorPil.from_pretrained(checkpoint)
        self._network: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint, dtype=dtype)
        self._network.to(self._device).eval()
        if self._device.type == "cpu" and self._network.num_parameters() <= SMALL:
            torch.set_num_threads(1)
        self.blocks = BlockCache(vocabulary, user_cache_path("safer-toolkit") / "blocks")
        self._machines = {
            toolkit.hash: Machine(toolkit, vocabulary, self.blocks.obtain(toolkit, progress)) for toolkit in toolkits
        }
        self._tokens = vocabulary.tokens
        self._context: int = self._network.config.text_config.max_position_embeddings
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hf-engine")
        self._closed = False

    async def stream(self, request: EngineRequest) -> AsyncGenerator[Piece, None]:
        """Yield the reply token by token; closing the iterator stops the worker before its next token."""
        if self._closed:
            raise EngineError("the engine has been closed")
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Piece | Exception | None] = asyncio.Queue()
        cancelled = threading.Event()

        def emit(item: Piece | Exception | None) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, item)

        self._worker.submit(self._work, request, emit, cancelled)
        try:
            while (item := await queue.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            cancelled.set()

    def reduce(self, image: Any) -> Any:
        """Resize a picture as the processor will; that then finds nothing left to resize."""
        width, height = self._seen_size(*image.size)
        is_smaller = width * height < image.width * image.height
        if not is_smaller or self._seen_size(width, height) != (width, height):
            return image
        return image.resize((width, height), self._images.resample)

    def _seen_size(self, width: int, height: int) -> tuple[int, int]:
        factor, size = self._images.patch_size * self._images.merge_size, self._images.size
        rows, columns = smart_resize(height, width, factor, size.shortest_edge, size.longest_edge)
        return columns, rows

    async def start(self) -> None:
        """Nothing to watch."""

    def replicas(self) -> tuple[ReplicaStatus]:
        """The one worker: up while it takes requests."""
        return (ReplicaStatus(ORIGIN.replica, not self._closed, ORIGIN.constraint),)

    async def close(self) -> None:
        """Let the running request end and take no more."""
        self._closed = True
        await asyncio.to_thread(self._worker.shutdown, cancel_futures=True)

    def _work(
        self, request: EngineRequest, emit: Callable[[Piece | Exception | None], None], cancelled: threading.Event
    ) -> None:
        if cancelled.is_set():
            return
        try:
            for piece in self._write(request):
                if cancelled.is_set():
                    return
                emit(piece)
        except EngineError as error:
            emit(error)
        except Exception as error:  # noqa: BLE001 - the edge of the worker thread: nothing may be lost in it
            emit(EngineError(f"{type(error).__name__} while generating"))
        else:
            emit(None)

    @torch.inference_mode()
    def _write(self, request: EngineRequest) -> Iterator[Piece]:
        sampling, asked = request.sampling, request.constraint
        machine = self._machines[request.toolkit.hash]
        inputs = self._inputs(request, given_text(asked.plan))
        length: int = inputs["input_ids"].shape[1]
        room = self._context - length
        if room < machine.least(depth=asked.depth, plan=asked.plan):
            raise ContextLengthError(f"the conversation has {length} tokens, more than this model can answer")
        limit = room if sampling.reply_tokens is None else min(room, sampling.reply_tokens)
        cursor = machine.start(depth=asked.depth, plan=asked.plan, answer_tokens=sampling.answer_tokens, limit=limit)
        yield Piece(cursor.prefix, prompt_tokens=length, origin=ORIGIN)

        random = torch.Generator(self._device)
        if sampling.seed is None:
            random.seed()
        else:
            random.manual_seed(sampling.seed)
        decoder = codecs.getincrementaldecoder("utf-8")()
        position = int(inputs["position_ids"].max()) + 1
        output = self._network(**inputs, use_cache=True, logits_to_keep=1)
        while True:
            token = draw(output.logits[0, -1], cursor.allowed().ids, sampling, random)
            written = cursor.advance(token)
            if cursor.finished:
                yield Piece("", tokens=1, finish="length" if cursor.cut else "stop")
                return
            tokens = [token, *forced_tokens(cursor, self._tokenizer)]
            written += b"".join(self._tokens[forced] or b"" for forced in tokens[1:])
            yield Piece(decoder.decode(written), tokens=len(tokens))
            output = self._network(
                input_ids=torch.tensor([tokens], device=self._device),
                position_ids=torch.arange(position, position + len(tokens), device=self._device).expand(3, 1, -1),
                past_key_values=output.past_key_values,
                use_cache=True,
                logits_to_keep=1,
            )
            position += len(tokens)

    def _inputs(self, request: EngineRequest, prefix: str) -> dict[str, Any]:
        """Encode the conversation and what counts as already written: ids, positions, and patches of the pictures."""
        images = pictures(request.turns)
        seen: dict[str, Any] = dict(self._images(images=images, return_tensors="pt")) if images else {}
        grids = seen.get("image_grid_thw")
        counts = [] if grids is None else (grids.prod(dim=1) // self._images.merge_size**2).tolist()
        ids = encode_prompt(self._tokenizer, request.turns, counts)
        ids += self._tokenizer.encode(prefix, add_special_tokens=False)
        input_ids = torch.tensor([ids])
        if grids is None:
            position_ids = torch.arange(len(ids)).expand(3, 1, -1)
        else:
            is_picture = (input_ids == self._tokenizer.convert_tokens_to_ids(IMAGE_PAD)).int()
            position_ids, _ = self._network.model.get_rope_index(input_ids, is_picture, image_grid_thw=grids)
        inputs = {"input_ids": input_ids, "position_ids": position_ids, **seen}
        return {name: value.to(self._device) for name, value in inputs.items()}


def draw(logits: torch.Tensor, allowed: Ids, sampling: Sampling, random: torch.Generator) -> int:
    """Draw one of the allowed tokens; `logits` has shape (vocabulary,)."""
    if len(allowed) == 1:
        return int(allowed[0])
    candidates = torch.from_numpy(allowed).to(logits.device)
    scores = logits[candidates].float()
    if sampling.temperature == 0:
        return int(allowed[int(scores.argmax())])
    probabilities, order = torch.softmax(scores / sampling.temperature, dim=-1).sort(descending=True)
    before = probabilities.cumsum(dim=-1) - probabilities
    probabilities[before >= sampling.top_p] = 0.0
    probabilities[0] = probabilities[0].clamp_min(torch.finfo(torch.float32).tiny)
    return int(allowed[int(order[torch.multinomial(probabilities, 1, generator=random)])])
