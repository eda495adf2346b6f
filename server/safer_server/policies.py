"""Policy files: YAML, read once at the start; a fault is named with its file, line and key."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from safer_protocol.errors import PolicyError
from safer_protocol.policy import DEFAULT_POLICY, Policy, PolicyFile, apply_policy, default_policy
from safer_protocol.toolkit import Toolkit
from safer_server.document import DocumentError, read_document

Policies = Mapping[str, Policy]


def load_policies(paths: Iterable[Path], base: Toolkit) -> Policies:
    """Read policy files and put the default policy beside them; raise `DocumentError`."""
    policies = {DEFAULT_POLICY: default_policy(base)}
    for path in paths:
        policy = load_policy(path, base)
        if policy.name in policies:
            raise DocumentError(f"{path}: there are two policies named {policy.name}")
        policies[policy.name] = policy
    return policies


def load_policy(path: Path, base: Toolkit) -> Policy:
    """Read one policy file; raise `DocumentError`."""
    document = read_document(path)
    try:
        return apply_policy(PolicyFile.model_validate(document.content), base)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        keys, message = tuple(str(key) for key in detail["loc"]), detail["msg"].removeprefix("Value error, ")
    except PolicyError as error:
        keys, message = tuple(key for key in error.key.split(".") if key), error.message
    raise document.fault(keys, message)
