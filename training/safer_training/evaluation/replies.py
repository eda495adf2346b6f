"""What a target replied: one line of `replies.jsonl`, written as soon as it is there and never changed."""

from safer_protocol.decision import Decision
from safer_protocol.frozen import Frozen

PLAIN = "plain"
"""The variant in which an item is asked as it is."""


class Reply(Frozen):
    """A reply to one item in one variant, or why there is none."""

    uid: str
    variant: str = PLAIN
    """`plain`, or the name of a change made to the item or the sampling: see `variants`."""
    error: str | None = None
    """Why there is no reply. A row with an error counts as a failure in every figure, and is asked again on resuming."""
    trace: str | None = None
    """Plan and trace, or a model's thinking, as text."""
    answer: str | None = None
    refusal: str | None = None
    finish_reason: str | None = None
    decision: Decision | None = None
    """As the trace says; where a target writes none, as a refusal or a declining opening shows. None: neither is known."""
    outcome: str | None = None
    """The guard's word where it gives one: answered, safe_completed, refused, clarified, failed_closed, would_refuse."""
    valid: bool | None = None
    """Whether the whole reply verifies; None for targets that do not write the protocol."""
    risk: float | None = None
    """How harmful the request is held to be, from 0 to 1, where a target says so."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float = 0.0
    """From the request to the end of the reply."""
    decision_seconds: float | None = None
    """From the request to the decision, or to the first token of the answer where no decision is written."""

    @property
    def text(self) -> str:
        """All that was written, as a judge reads it."""
        return "\n".join(part for part in (self.trace, self.answer, self.refusal) if part)
