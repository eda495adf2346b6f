"""Shared by all tests."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long an example takes says more about what else the machine does than about the project.
settings.register_profile("project")
settings.load_profile("project")


@pytest.fixture(autouse=True, scope="session")
def _audit_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what servers record out of the folders of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAFER_AUDIT_DIR", str(tmp_path_factory.mktemp("audit")))
        yield
