"""Folders of runs, as `safer eval run` leaves them, made by hand."""

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safer_protocol.decision import Decision
from safer_training.evaluation.item import Gold
from safer_training.evaluation.listing import Listed, digest
from safer_training.evaluation.manifest import Manifest, TargetCard
from safer_training.evaluation.replies import Reply
from safer_training.evaluation.sampling import Sampling

WHEN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
ALLOW, REFUSE = Decision.ALLOW, Decision.REFUSE


def item(uid: str, expected: Iterable[Decision] = (ALLOW,), **more: Any) -> Listed:
    """An item without pictures."""
    fields = {"category": "none", "gold": None, "twin": None, "judged": "request", "request": f"What is {uid}?"}
    return Listed(uid=uid, expected=tuple(expected), **{**fields, "images": (), "files": (), **more})


def reply(uid: str, decision: Decision | None, variant: str = "plain", **more: Any) -> Reply:
    """A reply that took a decision."""
    fields = {"trace": f"[{uid}]", "answer": "Here you are.", "seconds": 0.5}
    return Reply(uid=uid, variant=variant, decision=decision, **{**fields, **more})


def failure(uid: str, variant: str = "plain") -> Reply:
    """A row with an error."""
    return Reply(uid=uid, variant=variant, error="APIConnectionError")


def write_run(
    folder: Path,
    items: Sequence[Listed],
    replies: Sequence[Reply],
    suite: str = "look-alike",
    target: str = "guard",
    **more: Any,
) -> Path:
    """Write a run."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(
        suite=suite,
        title=suite.title(),
        items=len(items),
        items_sha256=digest(items),
        target=TargetCard(kind="endpoint", name=target, model="guard-1", endpoint="http://127.0.0.1:1/v1"),
        sampling=Sampling(),
        started=WHEN,
        **{"ended": WHEN, "missing": (), "variants": ("plain",), "versions": {}, **more},
    )
    (folder / "run.json").write_text(manifest.model_dump_json())
    for name, lines in (("items", items), ("replies", replies)):
        (folder / f"{name}.jsonl").write_text("".join(f"{line.model_dump_json()}\n" for line in lines))
    return folder


def write_scores(folder: Path, judge: str, marks: dict[str, tuple[int, int, int] | None], **card: Any) -> None:
    """Write what a judge said of the replies of a run: three scores, or nothing usable."""
    from safer_training.evaluation.folder import read_run
    from safer_training.evaluation.judging.run import material
    from safer_training.evaluation.judging.scores import JudgeCard, Scored

    run = read_run(folder)
    scores = folder / "scores"
    scores.mkdir(exist_ok=True)
    lines = []
    for one in run.items:
        judged = material(run, one, None)
        if one.uid not in marks or judged is None:
            continue
        three = marks[one.uid]
        said = dict(zip(("safety", "helpfulness", "rigor"), three, strict=True)) if three else {"error": "no scores"}
        lines.append(Scored(uid=one.uid, judged=judged.sha256, prompt_tokens=1000, completion_tokens=20, **said))
    (scores / f"{judge}.jsonl").write_text("".join(f"{line.model_dump_json()}\n" for line in lines))
    about = {"model": f"model-{judge}", "endpoint": "http://127.0.0.1:1/v1", "temperature": 0.0, **card}
    (scores / f"{judge}.json").write_text(JudgeCard(**about).model_dump_json())


def chance(*names: str) -> float:
    """A number from 0 to 1 that is always the same for the same names."""
    return int.from_bytes(hashlib.sha256(json.dumps(names).encode()).digest()[:4], "big") / 2**32


def write_example(folder: Path, suite: str, target: str, skill: float, rows: int = 200) -> Path:
    """Write a run of a guard that is right with some probability, with twins, variants, seeds, gold answers and failures."""
    words = (
        "privacy",
        "self-harm",
        "weapons & explosives",
        "fraud",
        "advice: medical or legal, of a specialised kind",
        "none",
    )
    items, replies = [], []
    for number in range(rows):
        uid, bad = f"{suite}-{number}", number % 2 == 1
        gold = Gold("4", "number") if number % 5 == 0 and not bad else None
        twin = f"twin-{number // 2}" if number < rows // 2 else None
        expected = (REFUSE, Decision.SAFE_COMPLETE) if bad else (ALLOW,)
        items.append(item(uid, expected, category=words[number // 2 % len(words)], gold=gold, twin=twin))
        if chance(uid, target, "fails") < 0.03:
            replies.append(failure(uid))
            continue
        for variant in ("plain", "no_image", "no_text", "reworded", "noisy", "seed-1", "seed-2", "seed-3"):
            if variant != "plain" and number % 4 > 1:
                continue
            shift = {"plain": 0.0, "no_text": 0.35, "no_image": 0.2}.get(variant, 0.03)
            wrong = chance(uid, target) > skill or chance(uid, target, variant) < shift
            taken = (
                (ALLOW if wrong else REFUSE)
                if bad
                else (Decision.SAFE_COMPLETE if wrong and number % 3 else REFUSE)
                if wrong
                else ALLOW
            )
            risk = min(
                0.99, max(0.01, (0.8 if taken is not ALLOW else 0.2) + 0.3 * (chance(uid, target, "risk") - 0.5))
            )
            seconds = 0.05 + 0.4 * chance(uid, target, "time") ** 3 / skill
            said = {
                "answer": "It is 4." if chance(uid, target, "gold") < skill else "It is 5.",
                "valid": chance(uid, "v") < 0.98,
            }
            replies.append(reply(uid, taken, variant, risk=risk, decision_seconds=seconds, seconds=3 * seconds, **said))
    write_run(folder, items, replies, suite, target, missing=("imgs/12.jpg", "imgs/13.jpg"))
    return folder


def write_example_scores(folder: Path, judge: str, skill: float, **card: Any) -> None:
    """Have a judge like most replies of a run, and fail on a few."""
    from safer_training.evaluation.folder import read_run

    draw = random.Random(f"{folder.name}{judge}")
    marks: dict[str, tuple[int, int, int] | None] = {}
    for one in read_run(folder).items:
        good = chance(one.uid, folder.name) < skill
        safety = 3 if good else draw.choice((-2, 1, 1, 2, 2))
        marks[one.uid] = None if draw.random() < 0.02 else (safety, draw.choice((1, 2, 3)), draw.choice((2, 3, 3)))
    write_scores(folder, judge, marks, **card)
