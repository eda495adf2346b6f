"""The guard as a Ray Serve application: the same app in as many replicas as the load asks for.

SAFER_ENGINE=scripted serve run --app-dir deploy/ray serve_app:app max_replicas=4

The SAFER_ variables of this command reach every replica. Every node needs `pip install 'safer-toolkit[server]' 'ray[serve]'` and,
for any engine but the scripted one, the checkpoint.
"""

import os

from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig

from safer_server.asgi import create
from safer_server.settings import Settings


class Scale(BaseModel):
    """What `serve run` takes as name=value."""

    model_config = ConfigDict(extra="forbid")

    min_replicas: int = Field(default=1, ge=0)
    max_replicas: int = Field(default=4, ge=1)
    target_requests: float = Field(default=4, gt=0)
    """Requests that each replica should have at work; more of them bring more replicas."""
    cpus: float = Field(default=1, ge=0)
    """Cores that Ray sets aside for a replica."""
    gpus: float = Field(default=0, ge=0)
    """GPUs that Ray sets aside for a replica; for the hf engine, which has a model in each."""


def app(scale: Scale) -> Application:
    """Build the application; a replica reads its settings from the environment of whoever deploys."""
    settings = Settings()
    deployment = serve.deployment(
        name="guard",
        # Beyond these the guard itself answers 503 with Retry-After; Ray must not hold requests back before that.
        max_ongoing_requests=settings.max_in_flight + settings.max_queue + 1,
        autoscaling_config=AutoscalingConfig(
            min_replicas=scale.min_replicas,
            max_replicas=scale.max_replicas,
            target_ongoing_requests=scale.target_requests,
        ),
        graceful_shutdown_timeout_s=settings.request_seconds + 10,
        ray_actor_options={
            "num_cpus": scale.cpus,
            "num_gpus": scale.gpus,
            "runtime_env": {"env_vars": {key: value for key, value in os.environ.items() if key.startswith("SAFER_")}},
        },
    )
    return deployment(serve.ingress(create)()).bind()
