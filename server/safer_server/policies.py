"""Policy files: YAML, read once at the start; a fault is named with its file, line and key."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml
from pydantic import ValidationError

from safer_protocol.errors import PolicyError
from safer_protocol.policy import DEFAULT_POLICY, Policy, PolicyFile, apply_policy, default_policy
from safer_protocol.toolkit import Toolkit

Policies = Mapping[str, Policy]


class PolicyFileError(Exception):
    """A policy file that cannot be used; the message begins with file and line."""


def load_policies(paths: Iterable[Path], base: Toolkit) -> Policies:
    """Read policy files and put the default policy beside them; raise `PolicyFileError`."""
    policies = {DEFAULT_POLICY: default_policy(base)}
    for path in paths:
        policy = load_policy(path, base)
        if policy.name in policies:
            raise PolicyFileError(f"{path}: there are two policies named {policy.name}")
        policies[policy.name] = policy
    return policies


def load_policy(path: Path, base: Toolkit) -> Policy:
    """Read one policy file; raise `PolicyFileError`."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PolicyFileError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PolicyFileError(f"{path}: not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PolicyFileError(f"{path}:{line}: {error.problem}") from None
    except yaml.YAMLError:
        raise PolicyFileError(f"{path}: holds a character that YAML does not allow") from None
    try:
        return apply_policy(PolicyFile.model_validate(content), base)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        keys, message = tuple(str(key) for key in detail["loc"]), detail["msg"].removeprefix("Value error, ")
    except PolicyError as error:
        keys, message = tuple(key for key in error.key.split(".") if key), error.message
    line, found = _place(root, keys)
    where = f"{path}:{line}: " + (f"{'.'.join(found)}: " if found else "")
    raise PolicyFileError(where + message)


def _place(node: yaml.Node | None, keys: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
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
