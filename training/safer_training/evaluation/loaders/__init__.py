"""Loaders of the public layouts, by the name that suite files give."""

from collections.abc import Mapping

from safer_training.evaluation.loaders.facts import Facts
from safer_training.evaluation.loaders.held_out import HeldOut
from safer_training.evaluation.loaders.layout import Layout

LAYOUTS: Mapping[str, type[Layout]] = {
    "facts": Facts,
    "held-out": HeldOut,
}
