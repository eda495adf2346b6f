"""A pool of some of the project's own requests."""

from itertools import islice
from pathlib import Path

import pytest

from safer_training.data.facts import read_own
from safer_training.data.pool import import_rows


@pytest.fixture(scope="session")
def own_pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    import_rows("own", islice(read_own(), 0, None, 5), folder)
    return folder
