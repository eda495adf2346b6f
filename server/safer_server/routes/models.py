"""`GET /v1/models`."""

import time
from collections.abc import Sequence
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from safer_server.errors import NotFoundError


class ModelCard(BaseModel):
    """A model as the OpenAI API lists it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "safer-toolkit"


class ModelList(BaseModel):
    """All served models."""

    object: Literal["list"] = "list"
    data: tuple[ModelCard, ...]


def models_router(models: Sequence[str]) -> APIRouter:
    """List the served models."""
    router = APIRouter()
    cards = {model: ModelCard(id=model, created=int(time.time())) for model in models}

    @router.get("/v1/models")
    async def list_models() -> ModelList:
        return ModelList(data=tuple(cards.values()))

    @router.get("/v1/models/{name:path}")
    async def get_model(name: str) -> ModelCard:
        if name not in cards:
            raise NotFoundError("This server does not serve that model.", param="model", code="model_not_found")
        return cards[name]

    return router
