"""The toolkit: everything that a plan and a trace may name, and the hash that binds checkpoints and traces to it."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property, lru_cache
from itertools import product
from typing import Self

from pydantic import Field as PydanticField
from pydantic import model_validator

from safer_protocol.categories import CATEGORIES, NO_HAZARD, Category
from safer_protocol.decision import PERMITTED, PROCEED, Decision, Risk
from safer_protocol.errors import UnknownNameError
from safer_protocol.frozen import Frozen
from safer_protocol.library import TOOLS
from safer_protocol.personas import PERSONAS, Persona
from safer_protocol.plan import Depth, Topology
from safer_protocol.tools import Stage, Tool

GRAMMAR_VERSION = "1"
"""Raised with every change of the wire form or of a topology's law."""

OPENINGS: Mapping[Decision, tuple[str, ...]] = {
    Decision.ALLOW: (),
    Decision.SAFE_COMPLETE: (
        "I can help with the safe part",
        "Here is what I can safely say",
        "I can share general information",
    ),
    Decision.REFUSE: ("I can't help with", "I'm sorry, but I can't", "I won't"),
    Decision.CLARIFY: ("Could you tell me", "Could you clarify", "Before I answer"),
}


class Toolkit(Frozen):
    """Tools, personas, categories and answer openings in force."""

    tools: tuple[Tool, ...] = TOOLS
    personas: tuple[Persona, ...] = PERSONAS
    categories: tuple[Category, ...] = CATEGORIES
    openings: Mapping[Decision, tuple[str, ...]] = OPENINGS
    """How an answer must begin after each decision; an allowed answer must not begin like a refusal."""
    topologies: tuple[Topology, ...] = tuple(Topology)
    """Topologies that a plan may choose; a shield also needs an entry gate."""
    permitted: Mapping[Risk, tuple[Decision, ...]] = PERMITTED
    """Decisions that do not contradict the risk in force."""
    outcomes: Mapping[str, tuple[Decision, ...]] = PydanticField(default_factory=dict)
    """Decisions to which a category in force is narrowed."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for kind, names in (
            ("tool", [tool.name for tool in self.tools]),
            ("persona", [persona.name for persona in self.personas]),
            ("category", [category.name for category in self.categories]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{kind} defined twice: {', '.join(twice)}")
        if NO_HAZARD not in {category.name for category in self.categories}:
            raise ValueError(f"the category {NO_HAZARD} is missing")
        if not self.personas:
            raise ValueError("no persona: every plan needs one")
        gates = [tool for tool in self.tools if tool.is_closing_gate]
        if not gates:
            raise ValueError("no closing gate: no walk could end")
        for stage in (Stage.PERCEPTION, Stage.REASONING):
            if not any(tool.stage is stage for tool in self.tools):
                raise ValueError(f"no {stage} tool: every plan needs one")
        for gate in gates:
            for risk, category in product(Risk, self.categories):
                if not self.permitted_verdicts(gate.verdicts, risk, category.name):
                    raise ValueError(
                        f"{gate.name}: no verdict is permitted at risk {risk} in category {category.name}, "
                        "so a walk could not end"
                    )
        if not self.usable_topologies:
            raise ValueError("no topology can be filled: add an entry gate or permit another topology")
        return self

    def __hash__(self) -> int:
        """Toolkits of one `hash` are one."""
        return hash(self.hash)

    @cached_property
    def by_name(self) -> Mapping[str, Tool]:
        """The tools by name."""
        return {tool.name: tool for tool in self.tools}

    @cached_property
    def category_by_name(self) -> Mapping[str, Category]:
        """The categories by name."""
        return {category.name: category for category in self.categories}

    @cached_property
    def usable_topologies(self) -> tuple[Topology, ...]:
        """The topologies that these tools can fill: a shield needs an entry gate."""
        has_entry = any(tool.is_entry_gate for tool in self.tools)
        return tuple(topology for topology in self.topologies if has_entry or topology is not Topology.SHIELD)

    def permitted_verdicts(self, words: tuple[str, ...], risk: str, category: str) -> tuple[str, ...]:
        """Those of a gate's verdict words that do not contradict risk and category in force, in the gate's order.

        An entry gate may always proceed; a risk or category that the toolkit does not know contradicts nothing.
        """
        by_risk = self.permitted.get(Risk(risk), ()) if risk in tuple(Risk) else tuple(Decision)
        by_category = self.outcomes.get(category, tuple(Decision))
        return tuple(word for word in words if word == PROCEED or (word in by_risk and word in by_category))

    @cached_property
    def verdict_variants(self) -> Mapping[str, tuple[tuple[str, ...], ...]]:
        """For each gate the sets of verdict words that some risk and category leave open, sorted."""
        standings = list(product(Risk, (category.name for category in self.categories)))
        return {
            tool.name: tuple(sorted({self.permitted_verdicts(tool.verdicts, *standing) for standing in standings}))
            for tool in self.tools
            if tool.verdicts
        }

    def tool(self, name: str) -> Tool:
        """Look a tool up; raise `UnknownNameError`."""
        try:
            return self.by_name[name]
        except KeyError:
            raise UnknownNameError(f"unknown tool {name!r}") from None

    def head_words(self, key: str) -> tuple[str, ...]:
        """The words that a key of the plan's head may hold."""
        match key:
            case "category":
                return tuple(category.name for category in self.categories)
            case "risk":
                return tuple(Risk)
            case "persona":
                return tuple(persona.name for persona in self.personas)
            case "topology":
                return self.usable_topologies
            case "depth":
                return tuple(Depth)
        raise UnknownNameError(f"unknown key {key!r} of a plan's head")

    @cached_property
    def hash(self) -> str:
        """The `protocol_hash`: SHA-256 of all that a checkpoint has to have learnt, as 64 hexadecimal digits."""
        law = {
            "grammar": GRAMMAR_VERSION,
            "depths": {depth: [depth.max_calls, depth.scale] for depth in Depth},
            **self.model_dump(mode="json", exclude=set() if self.outcomes else {"outcomes"}),
        }
        return hashlib.sha256(json.dumps(law, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@lru_cache(maxsize=1)
def default_toolkit() -> Toolkit:
    """Return the toolkit that ships with the protocol."""
    return Toolkit()
