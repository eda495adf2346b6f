"""Loaders of the public layouts, by the name that suite files give."""

from collections.abc import Mapping

from safer_training.evaluation.loaders.beavertails_v import BeaverTailsV
from safer_training.evaluation.loaders.facts import Facts
from safer_training.evaluation.loaders.held_out import HeldOut
from safer_training.evaluation.loaders.layout import Layout
from safer_training.evaluation.loaders.mathvista import MathVista
from safer_training.evaluation.loaders.mm_safetybench import MmSafetyBench
from safer_training.evaluation.loaders.mm_vet import MmVet
from safer_training.evaluation.loaders.mmmu import Mmmu
from safer_training.evaluation.loaders.mmstar import MmStar
from safer_training.evaluation.loaders.mssbench import MssBench
from safer_training.evaluation.loaders.pope import Pope
from safer_training.evaluation.loaders.spa_vl import SpaVl
from safer_training.evaluation.loaders.table import Table

LAYOUTS: Mapping[str, type[Layout]] = {
    "beavertails-v": BeaverTailsV,
    "facts": Facts,
    "held-out": HeldOut,
    "mathvista": MathVista,
    "mm-safetybench": MmSafetyBench,
    "mm-vet": MmVet,
    "mmmu": Mmmu,
    "mmstar": MmStar,
    "mssbench": MssBench,
    "pope": Pope,
    "spa-vl": SpaVl,
    "table": Table,
}
