"""The engines by name; each is imported only when it is asked for."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from safer_protocol.policy import DEFAULT_POLICY
from safer_server.checkpoint import check_protocol
from safer_server.engines.base import Engine
from safer_server.policies import Policies

if TYPE_CHECKING:
    from safer_protocol.constrain.cache import Progress

EngineName = Literal["hf", "scripted"]


class MissingExtraError(Exception):
    """An engine whose packages are not installed; the message is the line that installs them."""


def check_engine(name: EngineName, model: Path, policies: Policies, *, allow_mismatch: bool = False) -> None:
    """Raise `CheckpointError` where opening the engine would, and load nothing."""
    if name == "hf" and not allow_mismatch:
        check_protocol(model, policies[DEFAULT_POLICY].toolkit)


def open_engine(
    name: EngineName,
    model: Path,
    policies: Policies,
    *,
    allow_mismatch: bool = False,
    progress: "Progress | None" = None,
) -> Engine:
    """Build the engine; `model` is the checkpoint's directory. Raise `CheckpointError` or `MissingExtraError`."""
    match name:
        case "scripted":
            from safer_server.engines.scripted import ScriptedEngine

            return ScriptedEngine()
        case "hf":
            check_engine(name, model, policies, allow_mismatch=allow_mismatch)
            try:
                from safer_server.engines.hf import HfEngine
            except ModuleNotFoundError as error:
                message = f"the hf engine needs {error.name}: pip install 'safer-toolkit[serve]'"
                raise MissingExtraError(message) from None
            return HfEngine(model, [policy.toolkit for policy in policies.values()], progress)
