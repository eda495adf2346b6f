"""Virtual tools: text-defined operators that a trace calls."""

from enum import StrEnum
from functools import cached_property
from typing import Self

from pydantic import Field as PydanticField
from pydantic import model_validator

from safer_protocol.decision import PROCEED, Decision
from safer_protocol.fields import Choice, Field, Level
from safer_protocol.frozen import Frozen

RISK_KEY = "level"
"""A field of kind level with this key replaces the risk in force."""
CATEGORY_KEY = "category"
"""A field with this key replaces the category in force."""
VERDICT_KEY = "verdict"
"""A tool with a field of this key is a gate."""


class Stage(StrEnum):
    """The three stages of a trace, in their order."""

    PERCEPTION = "perception"
    REASONING = "reasoning"
    DECISION = "decision"


class Tool(Frozen):
    """A tool: its stage, one line of meaning and its fields in the order in which they are written."""

    name: str = PydanticField(pattern=r"^[A-Z][A-Z0-9]*(-[A-Z0-9]+)*$", max_length=40)
    stage: Stage
    meaning: str = PydanticField(pattern=r"^\S[^\n]*$")
    fields: tuple[Field, ...] = PydanticField(min_length=1, max_length=8)

    @model_validator(mode="after")
    def _check(self) -> Self:
        keys = [field.key for field in self.fields]
        if len(set(keys)) != len(keys):
            raise ValueError(f"{self.name}: a field key is used twice")
        for field in self.fields:
            if field.key == RISK_KEY and not isinstance(field, Level):
                raise ValueError(f"{self.name}: the field {RISK_KEY} is a level, for it replaces the risk in force")
            if field.key == CATEGORY_KEY and not isinstance(field, Choice):
                raise ValueError(
                    f"{self.name}: the field {CATEGORY_KEY} is a choice, for it replaces the category in force"
                )
        verdict = next((field for field in self.fields if field.key == VERDICT_KEY), None)
        if verdict is None:
            return self
        if self.stage is not Stage.DECISION or not isinstance(verdict, Choice) or keys[-1] != VERDICT_KEY:
            raise ValueError(f"{self.name}: a verdict is a choice, the last field of a decision tool")
        if {RISK_KEY, CATEGORY_KEY} & set(keys):
            raise ValueError(f"{self.name}: a gate decides by the {RISK_KEY} and {CATEGORY_KEY} that other tools gave")
        if not set(verdict.words) <= {PROCEED, *Decision}:
            raise ValueError(f"{self.name}: a verdict is one of {', '.join([PROCEED, *Decision])}")
        if PROCEED in verdict.words and not set(verdict.words) <= {PROCEED, Decision.REFUSE}:
            raise ValueError(f"{self.name}: an entry gate lets the walk {PROCEED} or refuses")
        return self

    @cached_property
    def verdicts(self) -> tuple[str, ...]:
        """The words of the verdict field; empty for a tool that is not a gate."""
        last = self.fields[-1]
        return last.words if isinstance(last, Choice) and last.key == VERDICT_KEY else ()

    @cached_property
    def is_entry_gate(self) -> bool:
        """Whether this gate opens a shield: it may let the walk proceed."""
        return PROCEED in self.verdicts

    @cached_property
    def is_closing_gate(self) -> bool:
        """Whether this gate's verdict is the decision that ends the walk."""
        return bool(self.verdicts) and not self.is_entry_gate
