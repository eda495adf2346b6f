"""`GET /healthz`, `/readyz` and `/version`."""

from importlib.metadata import version

from fastapi import APIRouter
from pydantic import BaseModel

from safer_protocol.policy import DEFAULT_POLICY
from safer_server.engines.base import Engine
from safer_server.errors import UnavailableError
from safer_server.policies import Policies
from safer_server.readiness import Readiness


class Health(BaseModel):
    """That the process lives, or that it takes requests."""

    status: str


class ReplicaVersion(BaseModel):
    """A replica of the engine, and what constrains its decoder."""

    replica: str
    up: bool
    constraint: str | None


class Version(BaseModel):
    """What is running."""

    version: str
    protocol_hash: str
    policies: dict[str, str]
    model: str
    engine: str
    replicas: tuple[ReplicaVersion, ...]


def health_router(readiness: Readiness, engine: Engine, policies: Policies) -> APIRouter:
    """Tell orchestrators how it goes."""
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> Health:
        return Health(status="ok")

    @router.get("/readyz")
    async def readyz() -> Health:
        if not readiness.canary_passed:
            raise UnavailableError("The canary request has not come back verified.", code="not_ready")
        if not readiness.ready():
            raise UnavailableError("The engine does not answer.", code="not_ready")
        return Health(status="ready")

    @router.get("/version")
    async def get_version() -> Version:
        return Version(
            version=version("safer-toolkit"),
            protocol_hash=policies[DEFAULT_POLICY].protocol_hash,
            policies={name: policy.policy_hash for name, policy in policies.items()},
            model=engine.model,
            engine=engine.name,
            replicas=tuple(
                ReplicaVersion(replica=status.name, up=status.up, constraint=status.constraint)
                for status in engine.replicas()
            ),
        )

    return router
