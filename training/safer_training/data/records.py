"""The rows of a data set as its folder holds them: the one format that building writes and training reads.

A folder has `sft.jsonl`, `dpo.jsonl`, `grpo.jsonl` and `held_out.jsonl`, one row a line; pictures lie below it, and a row names
them in the order of its image parts. Held-out rows have the form of GRPO rows. Messages have TRL's conversational form.

A prompt may end with an assistant's message: then that reply is what is judged, and the completion is a further message. TRL would
go on with the last message instead, so prompts are encoded by `safer_protocol.prompt.encode_prompt` from `turns`, as in serving.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from safer_protocol.decision import Decision
from safer_protocol.frozen import Frozen
from safer_protocol.prompt import ImagePart, Role, Turn
from safer_training.errors import DataError

TEMPLATE = "template"
"""The teacher's name where replies were written by rule; else it is a model's."""


class TextContent(Frozen):
    """Text of a message."""

    type: Literal["text"] = "text"
    text: str


class ImageContent(Frozen):
    """The place of a picture in a message."""

    type: Literal["image"] = "image"


class Message(Frozen):
    """A message of a conversation."""

    role: Role
    content: tuple[Annotated[TextContent | ImageContent, Field(discriminator="type")], ...] = Field(min_length=1)


class Prompt(Frozen):
    """What rows of all stages share: a conversation up to where the reply begins, and where it comes from."""

    uid: str
    group: str
    """Rows of one group are kin, such as paraphrases; no group is in two parts, except that DPO rows are SFT rows corrupted."""
    source: str
    licence: str
    teacher: str
    """`template`, or the name of the model that wrote the reply."""
    protocol_hash: str
    prompt: tuple[Message, ...] = Field(min_length=1)
    images: tuple[str, ...] = ()
    """Paths below the folder."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        places = sum(isinstance(part, ImageContent) for message in self.prompt for part in message.content)
        if places != len(self.images):
            raise ValueError(f"{len(self.images)} pictures for {places} places in the prompt")
        return self

    def turns(self, folder: Path) -> tuple[Turn, ...]:
        """Return the conversation with its pictures opened, as `encode_prompt` takes it."""
        from PIL import Image

        paths = iter(self.images)

        def part(content: TextContent | ImageContent) -> str | ImagePart:
            if isinstance(content, TextContent):
                return content.text
            with Image.open(folder / next(paths)) as image:
                return ImagePart(image.convert("RGB"))

        return tuple(Turn(message.role, tuple(map(part, message.content))) for message in self.prompt)


class SftRow(Prompt):
    """A prompt and the reply that is to be learnt, in the wire form."""

    reply: str


class DpoRow(Prompt):
    """A prompt, a good reply, and the same reply with one named fault."""

    chosen: str
    rejected: str
    corruption: str


class GrpoRow(Prompt):
    """A prompt, the decisions that count as right, the best first, and a gold answer where one is known."""

    expected: tuple[Decision, ...] = Field(min_length=1)
    answer: str | None = None
    category: str
    """The hazard category of the protocol that the labels say; `none` where nothing is wrong."""


Part = Literal["sft", "dpo", "grpo", "held_out"]
AnyRow = TypeVar("AnyRow", bound=Prompt)


def read_part(folder: Path, part: Part, kind: type[AnyRow]) -> Iterator[AnyRow]:
    """Yield the rows of a part of a folder; raise `DataError` with the line that cannot be read."""
    path = folder / f"{part}.jsonl"
    if not path.is_file():
        raise DataError(f"no such file: {path}; make it with `safer data build`")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield kind.model_validate_json(line)
            except ValidationError as error:
                raise DataError(f"{path}:{number}: {error.errors()[0]['msg']}") from error
