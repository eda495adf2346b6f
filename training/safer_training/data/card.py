"""The card of a data set: what it holds, of which sources and licences, and the hashes of its files."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safer_protocol.decision import Decision
from safer_protocol.frozen import Frozen
from safer_training.data.records import TEMPLATE, Part, Prompt

CARD_FILE, README = "dataset.json", "README.md"
_TEMPLATE_NOTE = (
    "Replies of the teacher `template` were written by rule from labels and facts: short, alike, and no model's reasoning. "
    "Labels of GRPO and held-out rows, and the conversations around requests, are always made by rule."
)


@dataclass
class Tally:
    """Counts kept while building: manners or corruptions and decisions of each part, and why replies were dropped."""

    kinds: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    decisions: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, part: Part, row: Prompt, kind: str, decision: Decision | None = None) -> None:
        """Count a row."""
        self.kinds[part][kind] += 1
        if decision is not None:
            self.decisions[part][decision] += 1

    def faults_told(self) -> str:
        """List the most frequent faults."""
        return "; ".join(f"{fault} ({number})" for fault, number in self.faults.most_common(5)) or "none"


class Card(Frozen):
    """What `dataset.json` holds."""

    protocol_hash: str
    seed: int
    teacher: str
    judge: str | None
    rows: dict[str, int]
    template_share: float
    """Of the SFT and DPO rows: those whose good reply was written by rule."""
    pictures: dict[str, int]
    """Rows with pictures."""
    kinds: dict[str, dict[str, int]]
    decisions: dict[str, dict[str, int]]
    sources: dict[str, dict[str, int]]
    licences: dict[str, str]
    removed: dict[str, int]
    dropped_replies: dict[str, int]
    files: dict[str, str]
    """SHA-256 of each file."""


def write_card(
    folder: Path,
    protocol_hash: str,
    seed: int,
    teacher: str,
    judge: str | None,
    parts: Mapping[Part, Sequence[Prompt]],
    tally: Tally,
    removed: Mapping[str, int],
) -> Card:
    """Write the card as `dataset.json` and for people as `README.md`."""
    replies = [*parts["sft"], *parts["dpo"]]
    card = Card(
        protocol_hash=protocol_hash,
        seed=seed,
        teacher=teacher,
        judge=judge,
        rows={part: len(rows) for part, rows in parts.items()},
        template_share=sum(row.teacher == TEMPLATE for row in replies) / max(1, len(replies)),
        pictures={part: sum(bool(row.images) for row in rows) for part, rows in parts.items()},
        kinds={part: dict(found.most_common()) for part, found in tally.kinds.items()},
        decisions={part: dict(found.most_common()) for part, found in tally.decisions.items()},
        sources={part: dict(Counter(row.source for row in rows).most_common()) for part, rows in parts.items()},
        licences=dict(sorted({(row.source, row.licence) for rows in parts.values() for row in rows})),
        removed=dict(removed),
        dropped_replies=dict(tally.faults.most_common()),
        files={part: _hash(folder / f"{part}.jsonl") for part in parts},
    )
    (folder / README).write_text(to_markdown(card), encoding="utf-8")
    (folder / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return card


def to_markdown(card: Card) -> str:
    """Write the card for people."""
    total = sum(card.rows.values())
    rows = [
        f"| {part} | {number} | {card.pictures[part]} | {_listed(card.kinds.get(part, {}))} | "
        f"{_listed(card.decisions.get(part, {}))} | `{card.files[part][:16]}` |"
        for part, number in card.rows.items()
    ]
    sources = [
        f"| {source} | {licence} | {', '.join(f'{part} {card.sources[part].get(source, 0)}' for part in card.rows)} |"
        for source, licence in card.licences.items()
    ]
    return "\n".join(
        (
            "# Data set for the protocol",
            "",
            f"{total} rows for protocol `{card.protocol_hash[:16]}`, built with seed {card.seed}.",
            f"Teacher: `{card.teacher}`; judge: {card.judge or 'none'}. "
            f"Replies made by templates: {card.template_share:.0%}. {_TEMPLATE_NOTE}",
            "",
            "| part | rows | with pictures | shown as, or corrupted by | best decision | SHA-256 |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            f"Removed before: {_listed(card.removed)}. Replies dropped: {_listed(card.dropped_replies) or 'none'}.",
            "",
            "The pictures lie below `pictures/`, named by their content. A source's licence holds for its rows:",
            "",
            "| source | licence | rows |",
            "|---|---|---|",
            *sources,
            "",
        )
    )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items())


def _hash(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
