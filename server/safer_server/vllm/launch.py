"""How a vLLM with the mask machine is started."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

PROCESSOR = "safer_server.vllm.processor:MaskMachine"


def set_environment(policies: Sequence[Path]) -> None:
    """Prepare this process, and so all that vLLM starts from it."""
    os.environ["SAFER_POLICIES"] = json.dumps([str(path.resolve()) for path in policies])
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # On CUDA vLLM 0.31 would take model runner V2, which refuses processors of V1.
    os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")


def server_command(model: Path, host: str, port: int, passed_on: Sequence[str]) -> list[str]:
    """The command line of vLLM's own server; what is passed on goes last, so that it overrides."""
    return [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(model), "--served-model-name", model.name),
        *("--host", host, "--port", str(port)),
        *("--logits-processors", PROCESSOR),
        "--enable-scale-out",  # the token interface that the guard speaks
        *("--shutdown-timeout", "30"),  # seconds in which replies may finish when it is told to stop
        *("--limit-mm-per-prompt", '{"video": 0}'),
        *passed_on,
    ]
