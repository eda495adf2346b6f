"""Policies: what an operator adds to the protocol or takes from it, without code.

A policy changes the toolkit that a request is planned, constrained and verified with. The checkpoint stays bound to the
`protocol_hash` of the toolkit that it was trained on; a policy has a `policy_hash` of its own, and what it adds is marked as not
trained for.
"""

from typing import Generic, Literal, Self, TypeVar
from unicodedata import category

from pydantic import Field as PydanticField
from pydantic import model_validator

from safer_protocol.categories import Category
from safer_protocol.decision import Decision, Risk
from safer_protocol.errors import PolicyError
from safer_protocol.fields import Choice
from safer_protocol.frozen import Frozen
from safer_protocol.personas import Persona
from safer_protocol.plan import Topology
from safer_protocol.toolkit import Toolkit
from safer_protocol.tools import CATEGORY_KEY, Tool

Item = TypeVar("Item", Tool, Persona, Category)

DEFAULT_POLICY = "default"

Enforcement = Literal["enforce", "shadow"]
"""Whether a refusal is carried out, or only told."""

Unjudged = Literal["block", "allow"]
"""Whether a conversation of which a part was not judged may be answered."""

_OPENING_CHARACTERS = 200


class Change(Frozen, Generic[Item]):
    """Items to add, and names of items to remove."""

    add: tuple[Item, ...] = ()
    remove: tuple[str, ...] = ()


class PolicyFile(Frozen):
    """What a policy file says; every key but the name may be left out."""

    name: str = PydanticField(pattern=r"^[a-z][a-z0-9-]{0,39}$")
    description: str = ""
    tools: Change[Tool] = Change[Tool]()
    personas: Change[Persona] = Change[Persona]()
    categories: Change[Category] = Change[Category]()
    topologies: tuple[Topology, ...] | None = PydanticField(default=None, min_length=1)
    """The topologies left to the planner."""
    openings: dict[Decision, tuple[str, ...]] = PydanticField(default_factory=dict)
    """How answers begin: replaces the openings of a decision."""
    refuse_from: Risk | None = None
    """The lowest risk level that forces a refusal."""
    outcomes: dict[str, tuple[Decision, ...]] = PydanticField(default_factory=dict)
    """By category: the decisions it is narrowed to."""
    enforcement: Enforcement = "enforce"
    unjudged: Unjudged = "block"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name == DEFAULT_POLICY:
            raise ValueError(f"the name {DEFAULT_POLICY} is taken")
        for decision, openings in self.openings.items():
            if decision is Decision.ALLOW:
                raise ValueError("an allowed answer has no fixed opening")
            if not openings or not all(map(_may_open, openings)):
                raise ValueError(
                    f"openings of {decision} are lines of at most {_OPENING_CHARACTERS} characters, none of them < or a control "
                    "character, without blanks around them"
                )
        return self


class Policy(Frozen):
    """A policy in force: its toolkit, the protocol it stands on, and what it adds to it."""

    name: str
    toolkit: Toolkit
    protocol_hash: str
    untrained: tuple[str, ...] = ()
    """Names of tools, personas and categories that the checkpoint was not trained for."""
    enforcement: Enforcement = "enforce"
    unjudged: Unjudged = "block"

    @property
    def policy_hash(self) -> str:
        """The hash of what traces are verified against; that of the protocol itself for the default policy."""
        return self.toolkit.hash


def _may_open(text: str) -> bool:
    """Whether an answer may be made to begin with a text."""
    return (
        0 < len(text.strip()) == len(text) <= _OPENING_CHARACTERS
        and "<" not in text
        and not any(category(character) in ("Cc", "Cs") for character in text)
    )


def default_policy(toolkit: Toolkit) -> Policy:
    """The protocol as it is."""
    return Policy(name=DEFAULT_POLICY, toolkit=toolkit, protocol_hash=toolkit.hash)


def apply_policy(file: PolicyFile, base: Toolkit) -> Policy:
    """Build the toolkit of a policy; raise `PolicyError` naming the key where it cannot work."""
    categories = _changed("categories", base.categories, file.categories)
    names = tuple(category.name for category in categories)
    tools = tuple(_with_categories(tool, names) for tool in _changed("tools", base.tools, file.tools))
    unknown = [name for name in file.outcomes if name not in names]
    if unknown:
        raise PolicyError(f"outcomes.{unknown[0]}", "no such category")
    personas = _changed("personas", base.personas, file.personas)
    permitted = dict(base.permitted)
    if file.refuse_from is not None:
        order = list(Risk)
        permitted |= dict.fromkeys(order[order.index(file.refuse_from) :], (Decision.REFUSE,))
    try:
        toolkit = Toolkit(
            tools=tools,
            personas=personas,
            categories=categories,
            openings={**base.openings, **file.openings},
            topologies=file.topologies or base.topologies,
            permitted=permitted,
            outcomes={**base.outcomes, **file.outcomes},
        )
    except ValueError as error:
        raise PolicyError("", _plain(error)) from None
    return Policy(
        name=file.name,
        toolkit=toolkit,
        protocol_hash=base.hash,
        untrained=(
            *(tool.name for tool in file.tools.add),
            *(persona.name for persona in file.personas.add),
            *(category.name for category in file.categories.add),
        ),
        enforcement=file.enforcement,
        unjudged=file.unjudged,
    )


def _changed(key: str, items: tuple[Item, ...], change: Change[Item]) -> tuple[Item, ...]:
    taken = {item.name for item in items}
    for place, name in enumerate(change.remove):
        if name not in taken:
            raise PolicyError(f"{key}.remove.{place}", f"there is no {name} to remove")
        taken.remove(name)
    for place, item in enumerate(change.add):
        if item.name in taken:
            raise PolicyError(f"{key}.add.{place}.name", f"{item.name} exists already; remove it first to replace it")
        taken.add(item.name)
    return tuple(item for item in items if item.name not in change.remove) + change.add


def _with_categories(tool: Tool, names: tuple[str, ...]) -> Tool:
    """Let the category field of a tool hold the categories of the policy."""
    fields = tuple(
        field.model_copy(update={"words": names}) if isinstance(field, Choice) and field.key == CATEGORY_KEY else field
        for field in tool.fields
    )
    return tool if fields == tool.fields else tool.model_copy(update={"fields": fields})


def _plain(error: ValueError) -> str:
    return str(error).split("Value error, ")[-1].split(" [type=")[0]
