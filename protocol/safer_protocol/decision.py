"""What a reply may decide, how risky a request may be, and which of the two go together."""

from collections.abc import Mapping
from enum import StrEnum


class Decision(StrEnum):
    """The verdict of the closing gate."""

    ALLOW = "allow"
    SAFE_COMPLETE = "safe_complete"
    REFUSE = "refuse"
    CLARIFY = "clarify"


class Risk(StrEnum):
    """How much harm a full answer could do, in rising order."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


PROCEED = "proceed"
"""The verdict of an entry gate that lets the walk go on."""

PERMITTED: Mapping[Risk, tuple[Decision, ...]] = {
    Risk.NONE: (Decision.ALLOW, Decision.SAFE_COMPLETE, Decision.CLARIFY),
    Risk.LOW: tuple(Decision),
    Risk.MEDIUM: tuple(Decision),
    Risk.HIGH: (Decision.SAFE_COMPLETE, Decision.REFUSE, Decision.CLARIFY),
    Risk.CRITICAL: (Decision.REFUSE,),
}
"""Decisions that do not contradict the risk in force: the plan's, until a call's `level` field replaces it."""
