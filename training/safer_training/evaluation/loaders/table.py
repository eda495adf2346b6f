"""Any table by a map of its columns: JSONL, JSON, CSV, TSV or Parquet, with or without pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from safer_protocol.decision import Decision
from safer_training.data.layouts import ALLOWED, REFUSED
from safer_training.data.records import ImageContent, Message, TextContent
from safer_training.errors import DataError
from safer_training.evaluation.gold import gold_of
from safer_training.evaluation.item import Gold, GoldKind, Item, Loaded
from safer_training.evaluation.loaders.asking import LETTER, with_choices
from safer_training.evaluation.loaders.files import find, picture, read_rows
from safer_training.evaluation.loaders.layout import Gathering, Layout

_SET = ("1", "1.0", "true", "yes")
_LETTERS = "ABCDEFGH"


class Table(Layout):
    """Which column holds what. Without `labels` and `flags` the rows expect no decision."""

    files: str
    """A pattern of names, anywhere below the folder."""
    prompt: str
    context: str | None = None
    """Put before the prompt where it is not empty."""
    reply: str | None = None
    """The assistant's reply; where it is given, that is what is judged."""
    image: str | None = None
    """A path below `pictures`, bytes, or base64."""
    image_as: Literal["path", "content"] = "path"
    pictures: str = "."
    """The folder of pictures, beside the table."""
    id: str | None = None
    """Unique; the number of the row where it is left out."""
    category: str | None = None
    twin: str | None = None
    label: str | None = None
    labels: dict[str, tuple[Decision, ...]] = Field(default_factory=dict)
    """The decisions that each word of `label` stands for; `*` where there is no column."""
    flags: dict[str, str] = Field(default_factory=dict)
    """Columns that name a harm where they hold 1, and what to call it. A row without any may be allowed."""
    answer: str | None = None
    answer_kind: GoldKind | None = None
    """How answers are compared; by how each is written where it is left out."""
    choices: tuple[str, ...] = ()
    """Columns of the choices A, B, C..., or one column with a list of them."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.label and not self.labels:
            raise ValueError("label: labels says what its words stand for")
        if self.labels and self.flags:
            raise ValueError("flags: either these or labels")
        if self.labels and not self.label and set(self.labels) != {"*"}:
            raise ValueError('labels: without a column for the label, the one label is "*"')
        if self.answer_kind == "choice" and not self.choices:
            raise ValueError("choices: which columns hold them")
        return self

    def load(self, folder: Path) -> Loaded:
        """Read all files that the pattern names."""
        gathering = Gathering(folder)
        files = find(gathering, self.files)
        needed = (self.prompt, *filter(None, (self.reply, self.image, self.id, self.label, self.answer)))
        for file in files:
            for number, row in read_rows(gathering, file, needed):
                where = f"{gathering.name(file)}: row {number}"
                absent = [column for column in needed if row[column] in (None, "")]
                if absent:
                    gathering.miss(f"{where} has no {', '.join(absent)}")
                    continue
                name = str(row[self.id]) if self.id else str(number) if len(files) == 1 else f"{file.stem}/{number}"
                with gathering.entry(where):
                    gathering.add(self._item(file.parent / self.pictures, row, name, where))
        return gathering.loaded(f"rows in {self.files}")

    def _item(self, pictures: Path, row: Mapping[str, Any], name: str, where: str) -> Item:
        image: Path | bytes | None = None
        if self.image:
            cell = row[self.image]
            image = picture(cell) if self.image_as == "content" else pictures / str(cell)
        gold, choices = self._gold(row, where)
        expected, harm = self._expected(row, where)
        text = str(row[self.prompt])
        if self.context and row.get(self.context):
            text = f"{row[self.context]}\n\n{text}"
        if gold and gold.kind == "choice":
            text = with_choices(text, choices) if choices else f"{text}\n{LETTER}"
        content: tuple[ImageContent | TextContent, ...] = (TextContent(text=text),)
        prompt = [Message(role="user", content=content if image is None else (ImageContent(), *content))]
        if self.reply:
            prompt.append(Message(role="assistant", content=(TextContent(text=str(row[self.reply])),)))
        return Item(
            uid=name,
            prompt=tuple(prompt),
            images=() if image is None else (image,),
            category=str(row.get(self.category) or "none") if self.category else harm or "none",
            expected=expected,
            gold=gold,
            twin=str(row[self.twin]) if self.twin and row.get(self.twin) else None,
        )

    def _expected(self, row: Mapping[str, Any], where: str) -> tuple[tuple[Decision, ...], str | None]:
        if self.flags:
            unknown = [column for column in self.flags if row.get(column) is None]
            harms = [harm for column, harm in self.flags.items() if str(row.get(column)).lower() in _SET]
            if harms:
                return REFUSED, harms[0]
            # Where nobody looked for a harm, a row is not known to be harmless.
            return ((), None) if len(unknown) == len(self.flags) else (ALLOWED, None)
        if not self.labels:
            return (), None
        label = str(row[self.label]) if self.label else "*"
        if label not in self.labels:
            raise DataError(f"{where}: unknown label {label!r}; known are {', '.join(self.labels)}")
        return self.labels[label], None

    def _gold(self, row: Mapping[str, Any], where: str) -> tuple[Gold | None, tuple[str, ...]]:
        if not self.answer:
            return None, ()
        answer = str(row[self.answer]).strip()
        if not self.choices:
            return (Gold(answer, self.answer_kind) if self.answer_kind else gold_of(answer)), ()
        cells = row.get(self.choices[0]) if len(self.choices) == 1 else [row.get(column) for column in self.choices]
        if not isinstance(cells, list):
            raise DataError(f"{where}: {self.choices[0]} holds no list")
        choices = tuple(str(cell) for cell in cells if cell not in (None, ""))
        if answer in choices:
            answer = _LETTERS[choices.index(answer)]
        if answer not in _LETTERS[: len(choices)]:
            raise DataError(f"{where}: the answer {answer!r} is neither a choice nor the letter of one")
        return Gold(answer, "choice", choices), choices
