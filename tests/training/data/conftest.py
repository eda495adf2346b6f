"""Small pools and pictures."""

import io
from pathlib import Path

import pytest
from PIL import Image

from safer_training.data.facts import read_own
from safer_training.data.pool import import_rows


def png(colour: tuple[int, int, int] = (200, 30, 30), size: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def own_pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    import_rows("own", read_own(), folder)
    return folder
