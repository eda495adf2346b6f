"""`run.json`: what was run on what. A run that is gone on with must be the same run."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

from safer_protocol.frozen import Frozen
from safer_training.evaluation.sampling import Sampling

TargetKind = Literal["endpoint", "checkpoint", "baseline", "moderations"]


class TargetCard(Frozen):
    """Who replied."""

    kind: TargetKind
    name: str
    """What reports call it."""
    model: str | None = None
    """As its server calls it."""
    endpoint: str | None = None
    """Its base URL, without credentials."""
    checkpoint: str | None = None
    """Its folder."""
    revision: str | None = None
    """SHA-256 of a checkpoint's weights, of what a baseline learnt from, or a guard's version."""
    stage: str | None = None
    """The stage of training that a checkpoint comes from."""
    protocol_hash: str | None = None
    constrained: bool | None = None
    """Whether a checkpoint wrote under the mask machine."""
    refusal_rule: str | None = None
    """The rule by which refusals are known where the target writes no decision."""


class Manifest(Frozen):
    """What `run.json` holds."""

    suite: str
    title: str
    items: int
    items_sha256: str
    missing: tuple[str, ...]
    """What a complete download of the suite would have had beside these items."""
    target: TargetCard
    sampling: Sampling
    variants: tuple[str, ...]
    versions: dict[str, str]
    started: datetime
    ended: datetime | None = None
    """When every item had been asked; None for a run that was stopped before."""


_OWN = ("started", "ended")
"""What may differ when a run is gone on with."""


def differences(begun: Manifest, wanted: Manifest) -> list[str]:
    """Say in what two manifests differ, as a user can read it."""
    before, now = dict(_leaves(begun)), dict(_leaves(wanted))
    return [
        f"{name} was {json.dumps(before.get(name))} and is {json.dumps(now.get(name))}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    ]


def _leaves(manifest: Manifest) -> Iterator[tuple[str, Any]]:
    for key, value in manifest.model_dump(mode="json", exclude=set(_OWN)).items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", held) for inner, held in value.items())
        else:
            yield key, value
