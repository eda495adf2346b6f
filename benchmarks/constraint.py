"""What constrained decoding costs on the real Qwen2.5 vocabulary: the mask machine beside llguidance, xgrammar and outlines-core.

One run, one process, the same plans and replies for all: `python benchmarks/constraint.py`. Absolute times depend on the machine,
their ratios hardly. Raw numbers go to `docs/benchmarks/constraint.json`, a table to `constraint.md` and a plot to `constraint.png`
beside it. The last line printed is one of `key=value` pairs.
"""

import json
import random
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Protocol

import llguidance
import llguidance.hf
import llguidance.numpy
import matplotlib as mpl
import numpy as np
import outlines_core
import torch
import typer
import xgrammar
from rich.progress import track

from qwen import LOGITS, qwen_tokenizer
from safer_protocol.constrain.cache import compile_blocks
from safer_protocol.constrain.forced import forced_tokens
from safer_protocol.constrain.machine import Cursor, Machine
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.decision import Decision
from safer_protocol.dialects import Dialect, reply_grammar
from safer_protocol.grammar import AnswerBlock, CallBlock, block_pattern
from safer_protocol.plan import Plan
from safer_protocol.text import ANSWER_OPEN, TRACE_OPEN, print_plan, print_reply
from safer_protocol.toolkit import default_toolkit
from safer_protocol.verify import verify
from sample import sample_plan, sample_reply

TOOLKIT = default_toolkit()
WORDS = -(-LOGITS // 32)
BATCH = 32
ANSWER_TOKENS = 200
ANSWER_MEASURED = 10
"""Tokens of each answer that are followed."""


class Follower(Protocol):
    """One request's place in a constraint library."""

    def fill(self, row: Any) -> None:
        """Write the mask of the next token into a row of packed bits."""

    def accept(self, token: int) -> None:
        """Take a token."""


class Contender(Protocol):
    """A constraint library set up for the vocabulary."""

    name: str

    def follow(self, plan: Plan) -> Follower:
        """Do what a request with a plan not seen before needs."""


@dataclass
class OurFollower:
    cursor: Cursor

    def fill(self, row: Any) -> None:
        bits = self.cursor.allowed().bits
        row[: len(bits)] = bits

    def accept(self, token: int) -> None:
        self.cursor.advance(token)


def behind(follower: Follower, head: list[int]) -> Follower:
    """Bring a follower to where the machine stands behind a given plan."""
    for token in head:
        follower.accept(token)
    return follower


@dataclass
class Ours:
    machine: Machine
    name: str = "mask machine"

    def follow(self, plan: Plan) -> Follower:
        return OurFollower(self.machine.start(plan=plan, answer_tokens=ANSWER_TOKENS))


@dataclass
class GuidanceFollower:
    matcher: Any

    def fill(self, row: Any) -> None:
        llguidance.numpy.fill_next_token_bitmask(self.matcher, row.view(np.int32)[None], 0)

    def accept(self, token: int) -> None:
        if not self.matcher.consume_token(token):
            raise AssertionError(f"llguidance: {self.matcher.get_error()}")


@dataclass
class Guidance:
    tokenizer: Any
    head: list[int]
    name: str = "llguidance"

    def follow(self, plan: Plan) -> Follower:
        text = reply_grammar(TOOLKIT, plan, Dialect.LARK, ANSWER_TOKENS)
        matcher = llguidance.LLMatcher(self.tokenizer, llguidance.LLMatcher.grammar_from_lark(text))
        return behind(GuidanceFollower(matcher), self.head)


@dataclass
class XgrammarFollower:
    matcher: Any

    def fill(self, row: Any) -> None:
        self.matcher.fill_next_token_bitmask(torch.from_numpy(row.view(np.int32)[None]), 0)

    def accept(self, token: int) -> None:
        if not self.matcher.accept_token(token):
            raise AssertionError("xgrammar: token refused")


@dataclass
class Xgrammar:
    compiler: Any
    head: list[int]
    name: str = "xgrammar"

    def follow(self, plan: Plan) -> Follower:
        text = reply_grammar(TOOLKIT, plan, Dialect.EBNF, ANSWER_TOKENS)
        return behind(XgrammarFollower(xgrammar.GrammarMatcher(self.compiler.compile_grammar(text))), self.head)


@dataclass
class Measured:
    """Times of one contender in seconds."""

    new_plan: list[float] = field(default_factory=list)
    mask: list[float] = field(default_factory=list)
    """In the trace."""
    answer_mask: list[float] = field(default_factory=list)
    accept: list[float] = field(default_factory=list)
    batch: list[float] = field(default_factory=list)
    memory_kb: float = 0.0
    refused: int = 0


def timed(times: list[float], work: Callable[[], Any]) -> Any:
    """Run and note how long it took."""
    start = time.perf_counter()
    result = work()
    times.append(time.perf_counter() - start)
    return result


def resident_kb() -> float:
    """Memory in use now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024


@dataclass(frozen=True)
class Job:
    """A plan not seen before and the tokens of a reply to it, of which the first `trace` belong to the trace."""

    plan: Plan
    tokens: list[int]
    trace: int


def measure(contender: Contender, work: list[Job]) -> Measured:
    """Hold many requests open, then follow every reply alone, then 32 at a time."""
    found, rows = Measured(), np.zeros((BATCH, WORDS), np.uint32)
    before = resident_kb()
    held = [contender.follow(job.plan) for job in work * 4]
    found.memory_kb = (resident_kb() - before) / len(held)
    del held
    for job in track(work, description=f"{contender.name}, one by one"):

        def begin(plan: Plan = job.plan) -> Follower:
            follower = contender.follow(plan)
            follower.fill(rows[0])
            return follower

        follower = timed(found.new_plan, begin)
        for place, token in enumerate(job.tokens):
            timed(found.mask if place < job.trace else found.answer_mask, partial(follower.fill, rows[0]))
            if not rows[0, token >> 5] >> np.uint32(token & 31) & 1:
                found.refused += 1
                break
            timed(found.accept, partial(follower.accept, token))
    batch = [(contender.follow(job.plan), job.tokens) for job in (work * BATCH)[:BATCH]]
    for step in track(range(min(job.trace for job in work[:BATCH])), description=f"{contender.name}, {BATCH} at once"):

        def all_rows(step: int = step) -> None:
            for place, (follower, tokens) in enumerate(batch):
                follower.fill(rows[place])
                follower.accept(tokens[step])

        timed(found.batch, all_rows)
    return found


def whole_pattern_seconds(vocabulary: Vocabulary, plan: Plan) -> float:
    """Compile the reply of one linear plan as a single outlines-core index, budgets left out."""
    calls = "".join(block_pattern(CallBlock(name, TOOLKIT.tool(name).verdicts), TOOLKIT) for name in plan.tools)
    answers = "|".join(block_pattern(AnswerBlock(decision), TOOLKIT) for decision in Decision if decision != "allow")
    start = time.perf_counter()
    outlines_core.Index(f"{TRACE_OPEN}\n{calls}(?:{answers})", vocabulary.for_outlines)
    return time.perf_counter() - start


def forced_share(machine: Machine, tokenizer: Any, replies: list[list[int]]) -> float:
    """The share of a reply's tokens that need no forward pass."""
    forced = total = 0
    for tokens in replies:
        cursor, place = machine.start(), 0
        while place < len(tokens):
            run = forced_tokens(cursor, tokenizer)
            forced, place = forced + len(run), place + len(run)
            if place < len(tokens):
                cursor.advance(tokens[place])
                place += 1
        total += len(tokens)
    return forced / total


def valid_percent(machine: Machine, walks: int) -> float:
    """The percentage of random walks over allowed tokens whose text verifies."""
    valid = 0
    for seed in track(range(walks), description="random walks"):
        chance, cursor, written = random.Random(seed), machine.start(answer_tokens=40), bytearray()
        while not cursor.finished:
            ids = cursor.allowed().ids
            written += cursor.advance(int(ids[chance.randrange(len(ids))]))
        valid += verify(written.decode(), TOOLKIT).valid
    return 100 * valid / walks


def quantiles(times: list[float], unit: float) -> dict[str, float]:
    """Median, 99th percentile and mean in units of `unit` seconds."""
    scaled = np.array(times) / unit
    return {"p50": float(np.median(scaled)), "p99": float(np.percentile(scaled, 99)), "mean": float(scaled.mean())}


def summary(found: Measured) -> dict[str, Any]:
    return {
        "new_plan_ms": quantiles(found.new_plan, 1e-3),
        "mask_us": quantiles(found.mask, 1e-6),
        "answer_mask_us": quantiles(found.answer_mask, 1e-6),
        "accept_us": quantiles(found.accept, 1e-6),
        "batch32_ms": quantiles(found.batch, 1e-3),
        "memory_kb_per_request": found.memory_kb,
        "replies_refused": found.refused,
    }


def table(results: dict[str, Any]) -> str:
    """Markdown of the comparison."""
    lines = [
        "| | new plan p50, ms | trace mask p50, us | trace mask p99, us | answer mask p99, us | 32 masks p50, ms | memory, kB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in results.items():
        lines.append(
            f"| {name} | {row['new_plan_ms']['p50']:.3f} | {row['mask_us']['p50']:.1f} | {row['mask_us']['p99']:.1f} "
            f"| {row['answer_mask_us']['p99']:.1f} | {row['batch32_ms']['p50']:.3f} | {row['memory_kb_per_request']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw the three times of each contender on a logarithmic scale."""
    mpl.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullFormatter

    figure, axes = plt.subplots(1, 3, figsize=(11, 3))
    for ax, (title, key, which) in zip(
        axes,
        [
            ("new plan, ms (p50)", "new_plan_ms", "p50"),
            ("mask, µs (p99)", "mask_us", "p99"),
            ("32 masks, ms (p50)", "batch32_ms", "p50"),
        ],
        strict=True,
    ):
        values = [row[key][which] for row in results.values()]
        bars = ax.barh(list(results), values, color=["#2b6cb0", "#a0aec0", "#cbd5e0"])
        ax.bar_label(bars, labels=[f"{value:,.0f}" if value > 100 else f"{value:.3g}" for value in values], padding=3)
        ax.set_xscale("log")
        ax.set_xlim(min(values) / 3, max(values) * 20)
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_title(title)
        ax.invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(
    plans: Annotated[int, typer.Option(help="Different plans to follow.")] = 30,
    walks: Annotated[int, typer.Option(help="Random walks to verify.")] = 10_000,
    out: Annotated[Path, typer.Option(help="Folder for table, plot and raw numbers.")] = Path("docs/benchmarks"),
    cache: Annotated[Path, typer.Option(help="Folder of compiled blocks.")] = Path("build/blocks"),
) -> None:
    """Measure, print, and write the results."""
    tokenizer = qwen_tokenizer()
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    start = time.perf_counter()
    machine = Machine(TOOLKIT, vocabulary, compile_blocks(TOOLKIT, vocabulary, cache))
    started = time.perf_counter() - start
    chance = random.Random(0)
    work, replies = [], []
    for _ in range(plans):
        plan = sample_plan(chance, TOOLKIT)
        text = print_reply(sample_reply(chance, TOOLKIT, plan), TOOLKIT)
        rest = text.removeprefix(f"{print_plan(plan)}{TRACE_OPEN}\n")
        replies.append(tokenizer.encode(text))
        trace = tokenizer.encode(rest.partition(f"{ANSWER_OPEN}\n")[0])
        work.append(Job(plan, tokenizer.encode(rest)[: len(trace) + ANSWER_MEASURED], len(trace)))

    opening = tokenizer.encode(f"{TRACE_OPEN}\n")
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=LOGITS, stop_token_ids=[vocabulary.eos])
    contenders: list[Contender] = [
        Ours(machine),
        Guidance(llguidance.hf.from_tokenizer(tokenizer, n_vocab=LOGITS), opening),
        Xgrammar(xgrammar.GrammarCompiler(info, max_threads=1), opening),
    ]
    for contender in contenders:
        measure(contender, work[:3])  # what only a first request pays is no one's
    results = {contender.name: summary(measure(contender, work)) for contender in contenders}
    linear = next(job.plan for job in work if job.plan.topology == "linear")
    whole = whole_pattern_seconds(vocabulary, linear)
    share, valid = forced_share(machine, tokenizer, replies), valid_percent(machine, walks)

    out.mkdir(parents=True, exist_ok=True)
    notes = (
        f"\n{plans} plans of all topologies, {len(vocabulary.tokens)} tokens, masks {LOGITS} wide. "
        f"Start of the machine with its blocks on disk: {started:.2f} s. "
        f"One linear plan of {len(linear.tools)} tools as a single outlines-core index: {whole:.1f} s. "
        "The grammars of the libraries accept the same language as the machine, budgets included. "
        f"Tokens of a reply that need no forward pass: {100 * share:.0f} %. Random walks that verify: {valid:g} % of {walks}.\n"
    )
    (out / "constraint.json").write_text(json.dumps({"results": results, "notes": notes.strip()}, indent=2) + "\n")
    (out / "constraint.md").write_text(table(results) + notes)
    plot(results, out / "constraint.png")
    print(table(results) + notes)
    ours = results["mask machine"]
    print(
        f"new_plan_ms_p50={ours['new_plan_ms']['p50']:.3f} mask_us_p50={ours['mask_us']['p50']:.2f} "
        f"mask_us_p99={ours['mask_us']['p99']:.2f} batch32_ms_p50={ours['batch32_ms']['p50']:.3f} valid_percent={valid:g}"
    )


if __name__ == "__main__":
    typer.run(main)
