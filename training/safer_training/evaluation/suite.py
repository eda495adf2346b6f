"""Suites: what is asked in an evaluation, each in one YAML file, shipped or a user's own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from safer_protocol.frozen import Frozen
from safer_training.errors import SuiteError
from safer_training.evaluation.item import Loaded
from safer_training.evaluation.loaders import LAYOUTS
from safer_training.evaluation.loaders.layout import Layout

SUITES = Path(__file__).parent / "suites"


class Defaults(Frozen):
    """How replies are sampled where a run does not say otherwise."""

    temperature: float = Field(default=0.0, ge=0)
    max_tokens: int = Field(default=2048, ge=1)
    """Of plan, trace and answer together."""


class Card(Frozen):
    """What a suite file says."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,59}$")
    title: str
    kind: Literal["safety", "general", "moderation"]
    """Whether decisions are judged, or answers compared with gold ones, or texts classified."""
    measures: str
    licence: str
    source: str
    """Where users get it."""
    folder: str = "."
    """What the folder is called below the one that holds all downloads; of a user's suite, beside its file."""
    layout: str
    """Which loader reads it."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Settings of the loader."""
    rows: int | None = Field(default=None, ge=1)
    """How many items a complete download has, where that is known."""
    sampling: Defaults = Defaults()
    min_pixels: int = Field(default=338 * 338, ge=784)
    """The area that smaller pictures are scaled up to."""
    max_pixels: int = Field(default=512 * 512, ge=784)
    """The area that larger pictures are scaled down to."""


@dataclass(frozen=True)
class Suite:
    """A suite with the folder that it is read from."""

    card: Card
    folder: Path
    layout: Layout

    def load(self) -> Loaded:
        """Read the items; raise `DataError` where the folder does not hold what the layout says."""
        loaded = self.layout.load(self.folder)
        if self.card.rows is None or len(loaded.items) >= self.card.rows:
            return loaded
        short = f"{self.card.rows - len(loaded.items)} of {self.card.rows} items are not there"
        return Loaded(loaded.items, (short, *loaded.missing))


def shipped() -> tuple[str, ...]:
    """Return the names of the suites that ship."""
    return tuple(sorted(file.stem for file in SUITES.glob("*.yaml")))


def shipped_cards() -> tuple[Card, ...]:
    """Return what the suites that ship say of themselves, in the order of their names."""
    return tuple(read_card(SUITES / f"{name}.yaml")[0] for name in shipped())


def load_suite(name_or_path: str | Path, data: Path | None = None) -> Suite:
    """Find a suite by its name, or by the path of its file; raise `SuiteError`.

    `data` is the folder of the download, or the one that holds it under the name that the suite gives. A user's own suite
    is looked for beside its file where `data` is not given.
    """
    path = Path(name_or_path)
    file = path if path.is_file() else SUITES / f"{path.name.removesuffix('.yaml')}.yaml"
    if not file.is_file():
        raise SuiteError(f"no suite {name_or_path}; a file, or one of {', '.join(shipped())}")
    card, layout = read_card(file)
    if data is None and file.parent == SUITES:
        raise SuiteError(f"{card.title} does not ship: get it from {card.source} and name its folder with --data")
    base = file.parent if data is None else data
    if not base.is_dir():
        raise SuiteError(f"no such folder: {base}")
    below = base / card.folder
    return Suite(card, below if below.is_dir() else base, layout)


def read_card(file: Path) -> tuple[Card, Layout]:
    """Read a suite file; raise `SuiteError` that names file, line and key."""
    try:
        text = file.read_text(encoding="utf-8")
        root, content = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SuiteError(f"{file}:{line}: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise SuiteError(f"{file}: holds characters that YAML does not allow") from None
    try:
        card = Card.model_validate(content)
    except ValidationError as error:
        raise _fault(file, root, (), error) from None
    if card.layout not in LAYOUTS:
        raise SuiteError(
            f"{file}:{_line(root, ('layout',))}: layout: no loader {card.layout!r}; known are {', '.join(LAYOUTS)}"
        )
    try:
        return card, LAYOUTS[card.layout].model_validate(card.options)
    except ValidationError as error:
        raise _fault(file, root, ("options",), error) from None


def _fault(file: Path, root: yaml.Node | None, above: tuple[str, ...], error: ValidationError) -> SuiteError:
    detail = error.errors(include_url=False, include_input=False)[0]
    keys = (*above, *map(str, detail["loc"]))
    match detail["type"]:
        case "extra_forbidden":
            message = "no such key"
        case "missing":
            message = "this key is needed"
        case _:
            message = detail["msg"].removeprefix("Value error, ")
    where = f"{'.'.join(keys)}: " if keys else ""
    return SuiteError(f"{file}:{_line(root, keys)}: {where}{message}")


def _line(node: yaml.Node | None, keys: tuple[str, ...]) -> int:
    """Follow keys into the document as far as they lead."""
    line = 1 if node is None else node.start_mark.line + 1
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            pairs = [(name, value) for name, value in node.value if name.value == key]
            if pairs:
                line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
            line = node.start_mark.line + 1
    return line
