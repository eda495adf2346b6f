"""OpenAI's moderation object out of a record: the verdict in the thirteen categories that its clients know."""

from typing import Literal

from safer_protocol.categories import MODERATION_CATEGORIES
from safer_protocol.decision import Decision
from safer_protocol.toolkit import Toolkit
from safer_server.case import Modality
from safer_server.record import Finding, Record
from safer_server.wire.response import Moderation, ModerationFault, ModerationResult, ModerationResults

_TYPES: dict[Modality, tuple[Literal["text", "image"], ...]] = {
    "text": ("text",),
    "image": ("image",),
    "text_image": ("text", "image"),
}

_FAILED = ModerationFault(code="failed_closed", message="There is no verified verdict.")
_NOT_JUDGED = ModerationFault(code="not_judged", message="The reply was judged, in the light of what was said before.")
_NO_OUTPUT = ModerationFault(code="no_output", message="No output was written.")


def moderation_of(record: Record, toolkit: Toolkit, model: str) -> Moderation:
    """Fill the object: the input as the trace found it, the output as it was judged, or written under a verified decision."""
    if record.finding is None:
        return Moderation(input=_FAILED, output=_FAILED)
    verdict = _results(result_of(record, record.finding, toolkit, model))
    if record.subject == "reply":
        return Moderation(input=_NOT_JUDGED, output=verdict)
    if record.reply is not None and record.reply.finding is not None:
        return Moderation(input=verdict, output=_results(result_of(record.reply, record.reply.finding, toolkit, model)))
    return Moderation(
        input=verdict, output=_NO_OUTPUT if record.is_check else _results(_result(model, False, {}, ("text",)))
    )


def _results(result: ModerationResult) -> ModerationResults:
    return ModerationResults(model=result.model, results=(result,))


def result_of(record: Record, finding: Finding, toolkit: Toolkit, model: str) -> ModerationResult:
    """Put a verdict into OpenAI's categories.

    A score is the trace's own, divided by 100, where it gives one, else 1 for a flagged category; it is not calibrated.
    """
    hazard = toolkit.category_by_name.get(finding.category)
    named = hazard.moderation if hazard is not None else ()
    flagged = record.decision in (Decision.REFUSE, Decision.SAFE_COMPLETE)
    score = finding.score if finding.score is not None else float(flagged)
    return _result(model, flagged, dict.fromkeys(named, score), _TYPES[record.modality])


def _result(
    model: str, flagged: bool, scores: dict[str, float], types: tuple[Literal["text", "image"], ...]
) -> ModerationResult:
    return ModerationResult(
        model=model,
        flagged=flagged,
        categories={name: flagged and name in scores for name in MODERATION_CATEGORIES},
        category_scores={name: scores.get(name, 0.0) for name in MODERATION_CATEGORIES},
        category_applied_input_types={name: types if name in scores else () for name in MODERATION_CATEGORIES},
    )
