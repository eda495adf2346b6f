"""Waiting for what has to happen, on a busy machine, too."""

import time
from collections.abc import Callable

PATIENCE = 120
"""Seconds until a test gives up on something: far more than it takes."""


def wait_for(holds: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until something holds; fail at the deadline."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
