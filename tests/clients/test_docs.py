"""The examples of docs/clients.md run as they stand there; those for LiteLLM are in its proxy's configuration."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from client_examples import examples
from loopback_process import LoopbackProcess
from waiting import PATIENCE

ANSWER = "This is a scripted answer: no model was asked."


@pytest.mark.parametrize("number", range(len(examples("python"))))
def test_python(guard: LoopbackProcess, number: int) -> None:
    code = examples("python", guard.url)[number]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(ANSWER) == 2


@pytest.mark.parametrize("number", range(len(examples("js"))))
def test_javascript(guard: LoopbackProcess, javascript: Callable[..., str], number: int) -> None:
    code = examples("js", guard.url)[number]
    assert ANSWER in javascript("--input-type=module", "--eval", code)
