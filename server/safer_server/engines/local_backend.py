"""vLLM in this process (`AsyncLLM`), with the mask machine as its logits processor."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import uuid4

from safer_server.engines.backend import BusyError, Chunk, Parameters, UnreachableError, refusal
from safer_server.engines.codec import Prompt
from safer_server.outgoing import OUTGOING
from safer_server.vllm.launch import PROCESSOR, set_environment


class LocalBackend:
    """One `AsyncLLM`; its engine core and workers are processes of their own."""

    def __init__(self, checkpoint: Path, policies: Sequence[Path], arguments: Mapping[str, Any]) -> None:
        """Start vLLM on a checkpoint, with further `AsyncEngineArgs`; takes as long as vLLM takes to load it."""
        set_environment(policies)
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        given = {"limit_mm_per_prompt": {"video": 0}, **arguments}
        self._llm = AsyncLLM.from_engine_args(
            AsyncEngineArgs(model=str(checkpoint), logits_processors=[PROCESSOR], **given)
        )

    async def context(self) -> int:
        """Ask whether the engine core lives."""
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            await self._llm.check_health()
        except EngineDeadError as error:
            raise UnreachableError("the engine core has died") from error
        return int(self._llm.model_config.max_model_len)

    async def generate(self, prompt: Prompt, parameters: Parameters) -> AsyncGenerator[Chunk, None]:
        """Stream the tokens of a reply."""
        from vllm import SamplingParams, TokensPrompt
        from vllm.exceptions import GracefulHTTPError, VLLMClientError
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        asked = TokensPrompt(prompt_token_ids=list(prompt.ids))
        if prompt.images:
            asked["multi_modal_data"] = {"image": list(prompt.images)}
        try:
            sampling = SamplingParams(**parameters, output_kind=RequestOutputKind.DELTA)
            # Closed at once, the inner iterator aborts the request; left to the garbage collector it would run on.
            trace = dict(OUTGOING.get()) or None
            async with aclosing(self._llm.generate(asked, sampling, uuid4().hex, trace_headers=trace)) as outputs:
                async for output in outputs:
                    (one,) = output.outputs
                    yield Chunk(tuple(one.token_ids), len(output.prompt_token_ids or ()), one.finish_reason)
        except (EngineDeadError, EngineGenerateError) as error:
            raise UnreachableError(f"{type(error).__name__} while generating") from error
        except GracefulHTTPError as error:
            raise BusyError(str(error)) from error
        except VLLMClientError as error:
            raise refusal(str(error)) from error

    async def close(self) -> None:
        """Stop the engine core."""
        self._llm.shutdown()
