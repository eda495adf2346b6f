"""The one verifier: deterministic and total, run on every reply whatever constrained its decoding."""

from itertools import islice

from safer_protocol.decision import PROCEED, Decision
from safer_protocol.fields import fault
from safer_protocol.frozen import Frozen
from safer_protocol.plan import HEAD_KEYS, Depth, Plan
from safer_protocol.reply import Reply
from safer_protocol.text import ANSWER_CLOSE, MAX_VIOLATIONS, parse
from safer_protocol.toolkit import Toolkit
from safer_protocol.tools import VERDICT_KEY, Tool
from safer_protocol.topology import Graph, ends_walk, graph, plan_problem, rank
from safer_protocol.trace import Call, Standing
from safer_protocol.violation import Code, Violation

_FAULTS = {"type": Code.FIELD_TYPE, "range": Code.FIELD_RANGE, "budget": Code.FIELD_BUDGET}


class Report(Frozen):
    """The outcome of a verification; `decision` is None where the trace reached none."""

    valid: bool
    violations: tuple[Violation, ...]
    decision: Decision | None


def verify(subject: str | Reply, toolkit: Toolkit) -> Report:
    """Check a reply, or any text that claims to be one, against the toolkit; never raises.

    A reply without an answer (`answer` None) is checked up to its decision.
    """
    if isinstance(subject, str):
        parsed = parse(subject, toolkit)
        violations = list(parsed.violations)
        reply = parsed.reply
    else:
        violations, reply = [], subject
    if reply is None:
        return Report(valid=False, violations=tuple(violations[:MAX_VIOLATIONS]), decision=None)
    found, decision = _verify_reply(reply, toolkit)
    # What the parser has named of a field is not named once more.
    named = {
        (violation.code, violation.step, violation.field) for violation in violations if violation.field is not None
    }
    violations += [violation for violation in found if (violation.code, violation.step, violation.field) not in named]
    return Report(valid=not violations, violations=tuple(violations[:MAX_VIOLATIONS]), decision=decision)


def _verify_reply(reply: Reply, toolkit: Toolkit) -> tuple[list[Violation], Decision | None]:
    violations = _plan_violations(reply.plan, toolkit)
    walkable = not violations
    depth = Depth(reply.plan.depth) if reply.plan.depth in tuple(Depth) else Depth.FULL
    for step, call in enumerate(reply.trace):
        if len(violations) >= MAX_VIOLATIONS:
            break
        tool = toolkit.by_name.get(call.tool)
        if tool is None:
            violations.append(Violation(code=Code.UNKNOWN_TOOL, message="no such tool in the toolkit", step=step))
        else:
            violations += _call_violations(call, tool, step, depth.scale)
    if walkable:
        violations += _walk_violations(reply, graph(toolkit, reply.plan), toolkit)
    decision, found = _decision(reply, toolkit)
    violations += found
    if reply.answer is not None:
        violations += answer_violations(reply.answer, decision, toolkit)
    return violations, decision


def _plan_violations(plan: Plan, toolkit: Toolkit) -> list[Violation]:
    violations = [
        Violation(code=Code.PLAN_VALUE, message=f"not a {key} of the protocol", field=key)
        for key in HEAD_KEYS
        if getattr(plan, key) not in toolkit.head_words(key)
    ]
    unknown = [name for name in plan.tools if name not in toolkit.by_name]
    if unknown:
        violations.append(
            Violation(code=Code.UNKNOWN_TOOL, message="the plan lists a tool that the toolkit lacks", field="tools")
        )
    if not violations:
        problem = plan_problem(toolkit, plan)
        if problem is not None:
            violations.append(Violation(code=Code.PLAN_TOOLS, message=problem, field="tools"))
    return violations


def _call_violations(call: Call, tool: Tool, step: int, scale: float) -> list[Violation]:
    keys = [field.key for field in tool.fields]
    violations = [
        Violation(code=Code.UNKNOWN_FIELD, message=f"{tool.name} has no such field", step=step, field=key[:64])
        for key in islice((key for key in call.fields if key not in keys), MAX_VIOLATIONS)
    ]
    given = [key for key in call.fields if key in keys]
    if given != [key for key in keys if key in call.fields]:
        violations.append(Violation(code=Code.FIELD_ORDER, message=f"the order is {', '.join(keys)}", step=step))
    for field in tool.fields:
        if field.key not in call.fields:
            message = f"{tool.name} needs this field"
            violations.append(Violation(code=Code.MISSING_FIELD, message=message, step=step, field=field.key))
            continue
        problem = fault(field, call.fields[field.key], scale)
        if problem is not None:
            kind, message = problem
            violations.append(Violation(code=_FAULTS[kind], message=message, step=step, field=field.key))
    return violations


def _walk_violations(reply: Reply, walks: Graph, toolkit: Toolkit) -> list[Violation]:
    """Check the order of the calls; after the first wrong step the walk is no longer defined, so only that one is named."""
    for step, call in enumerate(reply.trace):
        if call.tool not in toolkit.by_name:
            return []
        if step > 0 and ends_walk(reply.trace[step - 1], toolkit):
            return [Violation(code=Code.AFTER_DECISION, message="a call after the decision", step=step)]
        walk = [earlier.tool for earlier in reply.trace[:step]]
        if call.tool not in walks.successors(walk):
            code, message = _wrong_step(call.tool, walk, walks, reply.plan, toolkit)
            return [Violation(code=code, message=message, step=step)]
    return []


def _wrong_step(name: str, walk: list[str], walks: Graph, plan: Plan, toolkit: Toolkit) -> tuple[Code, str]:
    if name not in plan.tools:
        return Code.TOOL_NOT_PLANNED, "the plan does not list this tool"
    if walk.count(name) >= walks.max_uses:
        return Code.REPEAT, f"a tool may be called {walks.max_uses} times at most here"
    if walks.to_end[name] > walks.max_calls - len(walk):
        return Code.BUDGET_CALLS, f"with this call the walk cannot end within {walks.max_calls} calls"
    if not walk or rank(toolkit.tool(name)) < rank(toolkit.tool(walk[-1])):
        return Code.ORDER, f"expected one of {', '.join(walks.successors(walk))}"
    return Code.EDGE, f"{walk[-1]} does not lead here in a {plan.topology} walk"


def _decision(reply: Reply, toolkit: Toolkit) -> tuple[Decision | None, list[Violation]]:
    """Find the decision, and whether every verdict is permitted at the risk in force when it was given."""
    standing = Standing(reply.plan.risk, reply.plan.category)
    decision: Decision | None = None
    violations: list[Violation] = []
    for step, call in enumerate(reply.trace):
        tool = toolkit.by_name.get(call.tool)
        if tool is None:
            continue
        standing, verdict = standing.after(call), call.fields.get(VERDICT_KEY)
        if verdict not in tool.verdicts:
            continue
        if verdict not in toolkit.permitted_verdicts(tool.verdicts, standing.risk, standing.category):
            message = f"{verdict} contradicts the risk or category in force"
            violations.append(Violation(code=Code.DECISION_AGAINST_RISK, message=message, step=step, field=VERDICT_KEY))
        if verdict != PROCEED:
            decision = Decision(verdict)
    if not reply.trace or not ends_walk(reply.trace[-1], toolkit):
        violations.append(Violation(code=Code.MISSING_DECISION, message="the trace does not end in a decision"))
        decision = None
    return decision, violations


def answer_violations(answer: str, decision: Decision | None, toolkit: Toolkit) -> list[Violation]:
    """Check a whole answer against the decision."""
    if ANSWER_CLOSE in answer:
        return [Violation(code=Code.SYNTAX, message=f"an answer cannot hold {ANSWER_CLOSE}", field="answer")]
    if not answer or answer[0] in " \t\r\n":
        return [Violation(code=Code.ANSWER_EMPTY, message="the answer is empty or begins with a blank", field="answer")]
    if decision is None:
        return []
    agrees = opening_agrees(answer, decision, toolkit)
    if agrees or (agrees is None and decision is Decision.ALLOW):
        return []
    message = f"the opening of the answer does not agree with {decision}"
    return [Violation(code=Code.ANSWER_AGAINST_DECISION, message=message, field="answer")]


def opening_agrees(answer: str, decision: Decision, toolkit: Toolkit) -> bool | None:
    """Whether an answer begins as its decision demands; None while it is too short to tell."""
    if decision is Decision.ALLOW:
        refusals = toolkit.openings[Decision.REFUSE]
        if answer.startswith(refusals):
            return False
        return None if any(refusal.startswith(answer) for refusal in refusals) else True
    openings = toolkit.openings[decision]
    if answer.startswith(openings):
        return True
    return None if any(opening.startswith(answer) for opening in openings) else False
