"""How hard the tests attack: a sample in every run, and all of it under `make attack`."""

import os

FULL = "SAFER_TEST_ATTACK" in os.environ
EXAMPLES = 1000 if FULL else 100
"""Examples for a property whose example costs a millisecond; those that cost more take a fraction."""
BODIES = 10_000 if FULL else 400
"""Broken bodies."""
