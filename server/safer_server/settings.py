"""Settings: read once, at the edge, from `SAFER_*` variables; the command line overrides them."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from safer_server.engines.table import EngineName

PACKAGED_CHECKPOINT = Path(__file__).parent / "checkpoints" / "tiny"

LogLevel = Literal["critical", "error", "warning", "info", "debug"]


class Settings(BaseSettings):
    """What an operator may set; `docs/settings.md` lists every field."""

    model_config = SettingsConfigDict(env_prefix="SAFER_", frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes any free one.")
    workers: int = Field(default=1, ge=1, description="Server processes that share the port, each with its own engine.")
    log_level: LogLevel = Field(default="info", description="Least severe log line that is written.")
    engine: EngineName = Field(default="hf", description="What generates tokens: hf or scripted.")
    model: Path = Field(default=PACKAGED_CHECKPOINT, description="Directory of the checkpoint to serve.")
    policies: tuple[Path, ...] = Field(
        default=(),
        description="Policy files (YAML) to serve beside the default policy; in the environment a JSON list.",
    )
    allow_protocol_mismatch: bool = Field(
        default=False, description="Serve a checkpoint although it was trained on another protocol, or on none."
    )
    max_in_flight: int = Field(default=8, ge=1, description="Requests that a worker's engine works on at once.")
    max_queue: int = Field(default=64, ge=0, description="Requests that may wait in a worker; the next one gets a 503.")
    retry_after: int = Field(default=2, ge=1, description="Seconds that a request turned away is told to wait.")
    request_seconds: float = Field(
        default=120.0, gt=0, description="Longest time for one reply; then the guard fails closed."
    )
    shutdown_seconds: int = Field(
        default=30, ge=0, description="Longest time that running replies get to finish when the server is told to stop."
    )
    answer_tokens: int = Field(default=512, ge=1, description="Longest answer in tokens, whatever the caller asks for.")
    max_body_bytes: int = Field(default=32 * 2**20, ge=1, description="Largest request body.")
    max_images: int = Field(default=8, ge=0, description="Most pictures in one request.")
    max_image_bytes: int = Field(default=10 * 2**20, ge=1, description="Largest picture as a file.")
    max_image_pixels: int = Field(
        default=24_000_000, ge=1, description="Most pixels in one picture, read from its header before it is decoded."
    )
    metrics: bool = Field(default=True, description="Serve Prometheus metrics under /metrics.")
