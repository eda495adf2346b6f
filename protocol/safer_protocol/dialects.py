"""Grammar texts for servers that cannot run the mask machine, printed from the same definitions.

Two calls make a reply: the first is constrained by `plan_grammar`, the second, whose prompt ends in the plan, by `reply_grammar`.
Every text that a grammar accepts is part of a valid reply; what it leaves out of what the machine writes is said at each
function. Text budgets are counted in tokens by the server's library. A server that ignores the grammar answers all the same, so
verify every reply.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

from safer_protocol.decision import Decision, Risk
from safer_protocol.errors import ProtocolError, UnknownNameError
from safer_protocol.fields import TEXT_CLASS, Choice, Field, Flag, Level, Score, Text, Texts, bare_words, budget
from safer_protocol.plan import HEAD_KEYS, Depth, Plan, Topology
from safer_protocol.productions import (
    Alt,
    Chars,
    Dialect,
    Literal,
    Maybe,
    Node,
    Pattern,
    Ref,
    Rules,
    Star,
    alt,
    none_of,
    seq,
    words,
)
from safer_protocol.text import ANSWER_CLOSE, ANSWER_OPEN, PLAN_CLOSE, PLAN_OPEN, TRACE_CLOSE, TRACE_OPEN
from safer_protocol.toolkit import Toolkit
from safer_protocol.tools import CATEGORY_KEY, RISK_KEY, VERDICT_KEY, Tool
from safer_protocol.topology import ends_walk, graph, plan_menu, plan_problem, rank
from safer_protocol.trace import Call, Standing

__all__ = ["Dialect", "plan_grammar", "reply_grammar"]


def plan_grammar(toolkit: Toolkit, dialect: Dialect, depth: Depth | None = None) -> str:
    """Return the grammar of the first call: `<plan>` to `</plan>` and its newline, at a given depth or any.

    It lists tools of one rank in the toolkit's order; the machine takes them in any order. Otherwise it is exact.
    """
    rules = Rules(dialect)
    order = {tool.name: place for place, tool in enumerate(sorted(toolkit.tools, key=rank))}
    known: dict[tuple[Topology | None, str, int], Ref] = {}

    def listing(topology: Topology, deep: Depth, chosen: tuple[str, ...]) -> Ref:
        """What may follow the chosen tools; it depends on the last of them, and on how many are left."""
        last = chosen[-1] if chosen else ""
        key = (None if chosen else topology, last, deep.max_calls - len(chosen))
        if key not in known:
            menu = plan_menu(toolkit, topology, deep, chosen)
            options = sorted((name for name in menu.tools if order[name] > order.get(last, -1)), key=order.__getitem__)
            known[key] = _take_or_skip(
                rules,
                [seq(f"[{name}]\n", listing(topology, deep, (*chosen, name))) for name in options]
                + ([Literal(f"{PLAN_CLOSE}\n")] if menu.may_end else []),
            )
        return known[key]

    def depths(topology: str) -> Node:
        listings = {deep: seq("\n", listing(Topology(topology), Depth(deep), ())) for deep in open_depths}
        return seq("; depth=", _branch(rules, open_depths, listings.__getitem__))

    open_depths = toolkit.head_words("depth") if depth is None else (depth,)
    head: list[Node | str] = [f"{PLAN_OPEN}\n"]
    for key in HEAD_KEYS[:3]:
        head += [f"{key}=", words(toolkit.head_words(key)), "; "]
    return rules.write(seq(*head, "topology=", _branch(rules, toolkit.head_words("topology"), depths)))


def _take_or_skip(rules: Rules, options: Sequence[Node]) -> Ref:
    """A choice as a chain, so that choices which differ in their beginning share their ends."""
    rest = rules.rule(options[-1])
    for option in reversed(options[:-1]):
        rest = rules.rule(Alt((option, rest)))
    return rest


def _branch(rules: Rules, choices: Iterable[str], following: Callable[[str], Node]) -> Node:
    """One of the words and what follows it; words with the same future are one option."""
    groups: dict[Ref, list[str]] = {}
    for word in choices:
        groups.setdefault(rules.rule(following(word)), []).append(word)
    return alt([seq(words(group), future) for future, group in groups.items()])


def reply_grammar(toolkit: Toolkit, plan: Plan, dialect: Dialect, answer_tokens: int) -> str:
    """Return the grammar of the second call: `<thinking>` to `</answer>` and its newline, of the replies to a plan.

    An answer whose tokens are spent is closed; an opening that its verdict demands does not count. llguidance may end a spent text
    within a character, which decodes to U+FFFD. For xgrammar no answer holds `<|`. Otherwise it is exact.

    Raises `ProtocolError` for a plan that is not valid.
    """
    _require_valid(toolkit, plan)
    return _ReplyWriter(toolkit, plan, dialect, answer_tokens).write()


def _require_valid(toolkit: Toolkit, plan: Plan) -> None:
    for key in HEAD_KEYS:
        if getattr(plan, key) not in toolkit.head_words(key):
            raise UnknownNameError(f"{getattr(plan, key)!r} is not a {key} of the protocol")
    for name in plan.tools:
        toolkit.tool(name)
    problem = plan_problem(toolkit, plan)
    if problem is not None:
        raise ProtocolError(problem)


class _ReplyWriter:
    """Writes the states of the walks of one plan as rules.

    A state is where the walk stands, how many calls it has made, whether it has gone back, and the risk and category in force as
    far as they matter to a gate. That no tool is called too often follows from the edges.
    """

    def __init__(self, toolkit: Toolkit, plan: Plan, dialect: Dialect, answer_tokens: int) -> None:
        self._toolkit, self._plan, self._answer_tokens = toolkit, plan, answer_tokens
        self._graph = graph(toolkit, plan)
        self._scale = Depth(plan.depth).scale
        self._rules = Rules(dialect)
        self._places: dict[tuple[str, int, bool, int | None, Standing], Ref] = {}
        self._effects: dict[tuple[str, str, str, Standing], Decision | Standing] = {}
        self._lines: dict[str, tuple[tuple[Ref, Choice | Level | None], ...]] = {}
        self._answers: dict[Decision, Ref] = {}

    def write(self) -> str:
        start = self._standing(Standing(self._plan.risk, self._plan.category))
        return self._rules.write(seq(f"{TRACE_OPEN}\n", self._place((), None, start)))

    def _place(self, walk: tuple[str, ...], part: int | None, standing: Standing) -> Ref:
        """What may follow at one part of the line of a walk's last call, or behind that call (`part` None)."""
        key = (walk[-1] if walk else "", len(walk), self._graph.went_back(walk), part, standing)
        if key not in self._places:
            if part is None:
                calls = [self._place((*walk, name), 0, standing) for name in self._graph.successors(walk)]
                self._places[key] = _take_or_skip(self._rules, calls)
            else:
                self._places[key] = self._rules.rule(self._call(walk, part, standing))
        return self._places[key]

    def _call(self, walk: tuple[str, ...], part: int, standing: Standing) -> Node:
        """The rest of the line of a walk's last call, from one of its parts on, and what follows it."""
        tool = self._toolkit.tool(walk[-1])
        line, field = self._line(tool)[part]
        if field is None:
            return seq(line, self._place(walk, None, standing))
        choices = bare_words(field)
        if field.key == VERDICT_KEY and tool.verdicts:
            choices = self._toolkit.permitted_verdicts(choices, standing.risk, standing.category)

        def following(word: str) -> Ref:
            match self._effect(tool, field, word, standing):
                case Decision() as decision:
                    return self._answer(decision)
                case Standing() as after if part + 1 < len(self._line(tool)):
                    return self._place(walk, part + 1, after)
                case Standing() as after:
                    return self._rules.rule(seq("\n", self._place(walk, None, after)))

        return seq(line, _branch(self._rules, choices, following))

    def _effect(self, tool: Tool, field: Choice | Level, word: str, standing: Standing) -> Decision | Standing:
        """What a word of a field decides: the walk, or the standing after it."""
        key = (tool.name, field.key, word, standing)
        if key not in self._effects:
            call = Call(tool=tool.name, fields={field.key: word})
            ends = field.key == VERDICT_KEY and ends_walk(call, self._toolkit)
            self._effects[key] = Decision(word) if ends else self._standing(standing.after(call))
        return self._effects[key]

    def _line(self, tool: Tool) -> tuple[tuple[Ref, Choice | Level | None], ...]:
        """A tool's line in parts: each ends before the value of a field on which the future depends, the last in the newline."""
        if tool.name not in self._lines:
            parts: list[tuple[Ref, Choice | Level | None]] = []
            written: list[Node | str] = [f"[{tool.name}]: "]
            for place, field in enumerate(tool.fields):
                written.append(("; " if place else "") + f"{field.key}=")
                if decides := self._deciding(tool, field):
                    parts.append((self._rules.rule(seq(*written)), decides))
                    written = []
                else:
                    written.append(self._value(field))
            if written:
                parts.append((self._rules.rule(seq(*written, "\n")), None))
            self._lines[tool.name] = tuple(parts)
        return self._lines[tool.name]

    def _deciding(self, tool: Tool, field: Field) -> Choice | Level | None:
        """The field, if its value is the verdict of a gate or may replace the risk or category in force."""
        if field.key not in (RISK_KEY, CATEGORY_KEY) and not (tool.verdicts and field.key == VERDICT_KEY):
            return None
        match field:
            case Choice() | Level():
                return field
            case _:
                return None

    def _value(self, field: Field) -> Node:
        match field:
            case Flag() | Level() | Choice():
                return words(bare_words(field))
            case Score():
                return Pattern(alt(["0", seq(Chars("[1-9]"), Maybe(Chars("[0-9]"))), "100"]))
            case Text():
                return seq('"', self._text(field), '"')
            case Texts():
                rest: Node = Literal("]")
                for place in reversed(range(field.items)):
                    item = seq(', "' if place else '"', self._text(field), '"', rest)
                    rest = self._rules.rule(alt([item, "]"]))
                return seq("[", rest)

    def _text(self, field: Text | Texts) -> Ref:
        return self._rules.text(Star(Chars(TEXT_CLASS)), budget(field, self._scale))

    def _answer(self, decision: Decision) -> Ref:
        """From the end of the closing call to the end of the answer."""
        if decision not in self._answers:
            rules, tokens = self._rules, self._answer_tokens
            opening, text = _answer_text(decision, self._toolkit, rules.dialect)
            closed = seq(rules.text(text, tokens), f"\n{ANSWER_CLOSE}\n")
            if rules.dialect is Dialect.LARK:
                # A greedy lexer would take the closing tag for text, so a longer terminal has to end in the tag. When the tokens
                # are spent, llguidance ends the first terminal that it may be in: that has to be the shorter.
                closed = Alt((closed, seq(rules.text(seq(text, f"\n{ANSWER_CLOSE}"), tokens), "\n")))
            self._answers[decision] = rules.rule(seq(f"\n{TRACE_CLOSE}\n{ANSWER_OPEN}\n", *opening, rules.rule(closed)))
        return self._answers[decision]

    def _standing(self, standing: Standing) -> Standing:
        """The first standing that leaves every gate of the plan the same verdicts, whatever replaces its other half."""
        risks, categories = self._alike
        return Standing(risks[standing.risk], categories[standing.category])

    @cached_property
    def _alike(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        tools = [self._toolkit.tool(name) for name in self._plan.tools]
        fields = [field for tool in tools for field in tool.fields if field.key == CATEGORY_KEY]
        named = [word for field in fields if isinstance(field, Choice | Level) for word in bare_words(field)]
        categories = dict.fromkeys([*self._toolkit.head_words("category"), *named])
        gates = [tool.verdicts for tool in tools if tool.verdicts]

        def permitted(risk: str, category: str) -> tuple[tuple[str, ...], ...]:
            return tuple(self._toolkit.permitted_verdicts(gate, risk, category) for gate in gates)

        by_risk = {str(risk): tuple(permitted(risk, category) for category in categories) for risk in Risk}
        by_category = {category: tuple(permitted(risk, category) for risk in Risk) for category in categories}
        return _firsts(by_risk), _firsts(by_category)


def _firsts(signatures: Mapping[str, object]) -> Mapping[str, str]:
    """Each key with the first key of the same signature."""
    first: dict[object, str] = {}
    return {key: first.setdefault(signature, key) for key, signature in signatures.items()}


# An answer is any text that does not hold `</answer>`. Only the first character of that tag is `<`, so after a partial match
# every other character leads back to plain text and another `<` to a match of one character.
_TAIL = ANSWER_CLOSE[1:]


def _partial(rest: str) -> Node:
    """The rest of a partial match of the closing tag."""
    return Maybe(seq(rest[0], *([_partial(rest[1:])] if rest[1:] else [])))


_PARTIAL = _partial(_TAIL[:-1])
_AGAIN = Star(seq(_PARTIAL, "<"))

_BARRED = {Dialect.LARK: "", Dialect.EBNF: "|"}
"""What cannot follow `<` in an answer: xgrammar takes a special token such as `<|im_start|>` for the text that it looks like."""


def _leave(dialect: Dialect) -> Node:
    """What breaks a partial match of the closing tag off, except `<`."""
    later = [seq(_TAIL[:place], none_of("<" + _TAIL[place])) for place in range(1, len(_TAIL))]
    return alt([none_of("<" + _TAIL[0] + _BARRED[dialect]), *later])


def _rest(dialect: Dialect) -> Node:
    """Any text without the closing tag."""
    plain = alt([none_of("<"), seq("<", _AGAIN, _leave(dialect))])
    return seq(Star(plain), Maybe(seq("<", _AGAIN, _PARTIAL)))


def _answer_text(decision: Decision, toolkit: Toolkit, dialect: Dialect) -> tuple[tuple[Node, ...], Node]:
    """The answers that agree with a decision: what does not count as text, and the text."""
    if decision is Decision.ALLOW:
        return (), _not_beginning_with(_shortest(toolkit.openings[Decision.REFUSE]), dialect)
    return (alt(_shortest(toolkit.openings[decision])),), _rest(dialect)


def _shortest(openings: tuple[str, ...]) -> tuple[str, ...]:
    """The openings that do not begin with another one."""
    return tuple(opening for opening in openings if not opening.startswith(tuple({*openings} - {opening})))


def _not_beginning_with(refusals: tuple[str, ...], dialect: Dialect) -> Node:
    """The answers, not blank at their start, that begin with none of the refusals, none of which begins with another.

    Such a text leaves the refusals' trie at some node, by a character that no refusal has there, by `<`, or by ending.
    """
    inside = sorted({refusal[:length] for refusal in refusals for length in range(1, len(refusal))})
    leaving: list[Node] = []
    for node in ("", *inside):
        following = "".join(sorted({refusal[len(node)] for refusal in refusals if refusal.startswith(node)}))
        other = none_of("<" + following + ("" if node else " \t\r\n"))
        leaving.append(seq(node, other) if node else other)
    rest = _rest(dialect)
    by_tag = seq("<", _AGAIN, alt([seq(_leave(dialect), rest), _PARTIAL]))
    if not inside:
        return alt([seq(alt(leaving), rest), by_tag])
    return alt([seq(alt(leaving), rest), seq(Maybe(alt(inside)), by_tag), *inside])
