"""The engines by name; each is imported only when it is asked for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from safer_protocol.errors import VocabularyError
from safer_protocol.policy import DEFAULT_POLICY
from safer_server.checkpoint import CheckpointError, check_protocol
from safer_server.engines.base import ConstraintMode, Engine, EngineName
from safer_server.policies import Policies
from safer_server.settings import Settings

if TYPE_CHECKING:
    from safer_protocol.constrain.cache import Progress
    from safer_server.engines.backend import Backend

_EXTRAS = {"hf": "serve", "vllm": "vllm", "vllm-http": "server"}
"""The extra that an engine needs."""


class MissingExtraError(Exception):
    """An engine, or another part, whose packages are not installed; the message is the line that installs them."""


def check_engine(settings: Settings, policies: Policies) -> None:
    """Raise `CheckpointError` where opening the engine would, and load nothing."""
    if settings.engine == "scripted":
        return
    if settings.engine == "vllm-http" and not settings.vllm_urls:
        raise CheckpointError(
            "the vllm-http engine needs the base URLs of its servers: SAFER_VLLM_URLS='[\"http://...\"]'"
        )
    if not settings.allow_protocol_mismatch:
        check_protocol(settings.model, policies[DEFAULT_POLICY].toolkit)


def open_engine(settings: Settings, policies: Policies, progress: "Progress | None" = None) -> Engine:
    """Build the engine that the settings name. Raise `CheckpointError` or `MissingExtraError`."""
    check_engine(settings, policies)
    try:
        return _open(settings.engine, settings, policies, progress)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(settings.engine, "serve")
        message = f"the {settings.engine} engine needs {error.name}: pip install 'safer-toolkit[{extra}]'"
        raise MissingExtraError(message) from None
    except VocabularyError as error:
        raise CheckpointError(f"{settings.model} cannot be constrained: {error}") from None


def _open(name: EngineName, settings: Settings, policies: Policies, progress: "Progress | None") -> Engine:
    match name:
        case "scripted":
            from safer_server.engines.scripted import ScriptedEngine

            return ScriptedEngine()
        case "hf":
            from safer_server.engines.hf import HfEngine

            return HfEngine(settings.model, [policy.toolkit for policy in policies.values()], progress)
        case "vllm":
            from safer_server.engines.local_backend import LocalBackend

            return _vllm(settings, policies, [LocalBackend(settings.model, settings.policies, settings.vllm_args)])
        case "vllm-http":
            from safer_server.engines.http_backend import HttpBackend

            key = None if settings.vllm_key is None else settings.vllm_key.get_secret_value()
            waits = (settings.connect_seconds, settings.first_token_seconds)
            return _vllm(settings, policies, [HttpBackend(url, *waits, key) for url in settings.vllm_urls])


def _vllm(settings: Settings, policies: Policies, backends: "Sequence[Backend]") -> Engine:
    from safer_server.engines.codec import Codec
    from safer_server.engines.replica import Patience
    from safer_server.engines.vllm import BY_ITSELF, VllmEngine

    return VllmEngine(
        name=settings.engine,
        model=settings.model.name,
        backends=backends,
        codec=Codec.of_checkpoint(settings.model),
        toolkits=[policy.toolkit for policy in policies.values()],
        modes=BY_ITSELF if settings.constraint == "auto" else (ConstraintMode(settings.constraint),),
        patience=Patience(settings.first_token_seconds, settings.next_token_seconds, settings.canary_seconds),
    )
