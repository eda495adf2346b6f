"""Violations: what can be wrong with a reply, each under a stable code."""

from enum import StrEnum

from safer_protocol.frozen import Frozen


class Code(StrEnum):
    """Stable names of violations; clients, metrics and rewards may rely on them."""

    SYNTAX = "syntax"
    INCOMPLETE = "incomplete"
    TRAILING_TEXT = "trailing_text"
    NOT_CANONICAL = "not_canonical"
    PLAN_VALUE = "plan_value"
    PLAN_TOOLS = "plan_tools"
    UNKNOWN_TOOL = "unknown_tool"
    TOOL_NOT_PLANNED = "tool_not_planned"
    REPEAT = "repeat"
    ORDER = "order"
    EDGE = "edge"
    BUDGET_CALLS = "budget_calls"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    FIELD_ORDER = "field_order"
    FIELD_TYPE = "field_type"
    FIELD_RANGE = "field_range"
    FIELD_BUDGET = "field_budget"
    MISSING_DECISION = "missing_decision"
    AFTER_DECISION = "after_decision"
    DECISION_AGAINST_RISK = "decision_against_risk"
    ANSWER_EMPTY = "answer_empty"
    ANSWER_AGAINST_DECISION = "answer_against_decision"


class Violation(Frozen):
    """One thing wrong: its code, the call (from 0) and field where it is, and a sentence for people."""

    code: Code
    message: str
    step: int | None = None
    field: str | None = None
