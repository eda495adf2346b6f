"""OpenAI's moderation object out of a record: the verdict in the thirteen categories that its clients know."""

from typing import Literal

from safer_protocol.categories import MODERATION_CATEGORIES
from safer_protocol.toolkit import Toolkit
from safer_server.case import Modality
from safer_server.record import Outcome, Record
from safer_server.wire.response import Moderation, ModerationFault, ModerationResult, ModerationResults

_TYPES: dict[Modality, tuple[Literal["text", "image"], ...]] = {
    "text": ("text",),
    "image": ("image",),
    "text_image": ("text", "image"),
}


def moderation_of(record: Record, toolkit: Toolkit, model: str) -> Moderation:
    """Fill the object: the input as the trace found it, the output as delivered under a verified decision.

    A score is the trace's own, divided by 100, where it gives one, else 1 for a flagged category; it is not calibrated.
    """
    if record.finding is None:
        fault = ModerationFault(code="failed_closed", message="There is no verified verdict.")
        return Moderation(input=fault, output=fault)
    hazard = toolkit.category_by_name.get(record.finding.category)
    named = hazard.moderation if hazard is not None else ()
    flagged = record.outcome in (Outcome.REFUSED, Outcome.SAFE_COMPLETED)
    score = record.finding.score if record.finding.score is not None else float(flagged)
    return Moderation(
        input=_side(model, flagged, dict.fromkeys(named, score), _TYPES[record.modality]),
        output=_side(model, False, {}, ("text",)),
    )


def _side(
    model: str, flagged: bool, scores: dict[str, float], types: tuple[Literal["text", "image"], ...]
) -> ModerationResults:
    result = ModerationResult(
        model=model,
        flagged=flagged,
        categories={name: flagged and name in scores for name in MODERATION_CATEGORIES},
        category_scores={name: scores.get(name, 0.0) for name in MODERATION_CATEGORIES},
        category_applied_input_types={name: types if name in scores else () for name in MODERATION_CATEGORIES},
    )
    return ModerationResults(model=model, results=(result,))
