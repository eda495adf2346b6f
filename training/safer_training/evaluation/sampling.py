"""How replies are sampled, and how large pictures are shown."""

from typing import Any, Self

from pydantic import Field, model_validator

from safer_protocol.frozen import Frozen

_RESERVED = frozenset(("model", "messages", "stream", "stream_options", "n"))


class Sampling(Frozen):
    """What a target is asked with; by default as in the paper, save for what only some servers know."""

    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=2048, ge=1)
    """Of the whole reply: plan and trace, or a model's thinking, included."""
    seed: int | None = None
    min_pixels: int | None = Field(default=None, ge=1)
    """Pictures of a smaller area are scaled up to it."""
    max_pixels: int | None = Field(default=None, ge=1)
    """Pictures of a larger area are scaled down to it."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request's body, such as vLLM's `repetition_penalty`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_pixels and self.max_pixels and self.min_pixels > self.max_pixels:
            raise ValueError("min_pixels is above max_pixels")
        reserved = _RESERVED & self.extra.keys()
        if reserved:
            raise ValueError(f"extra must not hold {', '.join(sorted(reserved))}")
        return self
