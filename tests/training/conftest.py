"""An untrained checkpoint of a million parameters, built once."""

from pathlib import Path
from typing import Any

import pytest

from safer_protocol.toolkit import Toolkit, default_toolkit
from safer_training.checkpoint import build, load
from safer_training.generate import generate
from safer_training.rows import Row


@pytest.fixture(scope="session")
def toolkit() -> Toolkit:
    return default_toolkit()


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    return generate()


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory, toolkit: Toolkit, rows: list[Row]) -> Path:
    directory = tmp_path_factory.mktemp("checkpoints") / "untrained"
    build(directory, "1m", toolkit, [row.text for row in rows])
    return directory


@pytest.fixture(scope="session")
def tokenizer(untrained: Path, toolkit: Toolkit) -> Any:
    return load(untrained, toolkit)[1]
