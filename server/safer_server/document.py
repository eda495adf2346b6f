"""A YAML document that an operator wrote, read once at the start; a fault in it is told with its file, line and key."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class DocumentError(Exception):
    """A document that cannot be used; the message begins with where it stands, and line if there is one."""


@dataclass(frozen=True)
class Document:
    """A parsed document: what it holds, and the nodes that know the lines."""

    name: str
    content: Any
    root: yaml.Node | None

    def fault(self, keys: Sequence[str], message: str) -> DocumentError:
        """Make the error for what is wrong at these keys."""
        line, found = _place(self.root, keys)
        return DocumentError(f"{self.name}:{line}: " + (f"{'.'.join(found)}: " if found else "") + message)


def read_document(path: Path) -> Document:
    """Read a file; raise `DocumentError`."""
    try:
        return parse_document(str(path), path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DocumentError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DocumentError(f"{path}: not UTF-8 text") from None


def parse_document(name: str, text: str) -> Document:
    """Parse a text, which may as well be JSON; raise `DocumentError`."""
    try:
        return Document(name, yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DocumentError(f"{name}:{line}: {error.problem}") from None
    except yaml.YAMLError:
        raise DocumentError(f"{name}: holds a character that YAML does not allow") from None


def _place(node: yaml.Node | None, keys: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """Follow keys into a document as far as they lead; return the line and the keys that were there."""
    line, found = (1 if node is None else node.start_mark.line + 1), list[str]()
    for place, key in enumerate(keys, 1):
        below: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                if name.value == key:
                    line, below = name.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            below = node.value[int(key)]
            line = below.start_mark.line + 1
        # A key that is not in the document is missing there, or else the tag of a union, which is not for people.
        if below is not None or place == len(keys):
            found.append(key)
        node = below or node
    return line, tuple(found)
