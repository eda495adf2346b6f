"""The plan: what the planner fixes before the first tool is called."""

from enum import StrEnum

from safer_protocol.frozen import Frozen


class Topology(StrEnum):
    """The shape of the walk; `safer_protocol.topology` holds the law of each."""

    LINEAR = "linear"
    TREE = "tree"
    MESH = "mesh"
    SHIELD = "shield"
    LOOP = "loop"


class Depth(StrEnum):
    """How much a trace may say."""

    BRIEF = "brief"
    STANDARD = "standard"
    FULL = "full"

    @property
    def max_calls(self) -> int:
        """The most calls a trace may have, and the most tools a plan may list."""
        match self:
            case Depth.BRIEF:
                return 4
            case Depth.STANDARD:
                return 7
            case Depth.FULL:
                return 10

    @property
    def scale(self) -> float:
        """The factor on every text budget."""
        match self:
            case Depth.BRIEF:
                return 0.5
            case Depth.STANDARD:
                return 1.0
            case Depth.FULL:
                return 2.0


class Plan(Frozen):
    """Category and risk as first guessed, manner, shape, depth, and the tools in order.

    The values are plain words: `verify` says whether the toolkit knows them, so that a bad plan is reported and not refused
    half-read.
    """

    category: str
    risk: str
    persona: str
    topology: str
    depth: str
    tools: tuple[str, ...]


HEAD_KEYS = ("category", "risk", "persona", "topology", "depth")
