"""Settings: read once, at the edge, from `SAFER_*` variables; the command line overrides them."""

from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from platformdirs import user_state_path
from pydantic import Field, FilePath, IPvAnyNetwork, SecretStr, StringConstraints, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from safer_server.audit.record import Content
from safer_server.engines.base import EngineName
from safer_server.fetch import HOST_PATTERN

PACKAGED_CHECKPOINT = Path(__file__).parent / "checkpoints" / "tiny"
USER_AUDIT = user_state_path("safer-toolkit") / "audit"

LogLevel = Literal["critical", "error", "warning", "info", "debug"]
Host = Annotated[str, StringConstraints(pattern=HOST_PATTERN)]


class Settings(BaseSettings):
    """What an operator may set; `docs/settings.md` lists every field."""

    model_config = SettingsConfigDict(env_prefix="SAFER_", frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes any free one.")
    internal_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Second port, which alone serves the console, /v1/traces and /metrics; none: the first one does.",
    )
    workers: int = Field(default=1, ge=1, description="Server processes that share the port, each with its own engine.")
    log_level: LogLevel = Field(default="info", description="Least severe log line that is written.")
    log_format: Literal["human", "json"] = Field(
        default="human", description="How log lines are written: human or json."
    )
    tls_certificate: FilePath | None = Field(
        default=None, description="Certificate chain (PEM) to serve HTTPS with; needs SAFER_TLS_KEY."
    )
    tls_key: FilePath | None = Field(default=None, description="Private key (PEM) of the certificate, not encrypted.")
    trusted_proxies: tuple[IPvAnyNetwork, ...] = Field(
        default=(),
        description="Addresses and networks whose X-Forwarded-For and X-Forwarded-Proto are believed; a JSON list.",
    )
    keys_file: Path | None = Field(
        default=None, description="File (YAML) of the API keys that are let in; see security.md."
    )
    keys: SecretStr | None = Field(default=None, description="The same list as text, in place of a file.")
    limits_url: SecretStr = Field(
        default=SecretStr("memory://"),
        description="Where the limits of keys are counted: memory:// in each worker, redis:// for all servers together.",
    )
    engine: EngineName = Field(default="hf", description="What generates tokens: hf, vllm, vllm-http or scripted.")
    model: Path = Field(
        default=PACKAGED_CHECKPOINT,
        description="Directory of the checkpoint to serve; for vllm-http its configuration, tokenizer and safer.json do.",
    )
    policies: tuple[Path, ...] = Field(
        default=(),
        description="Policy files (YAML) to serve beside the default policy; in the environment a JSON list.",
    )
    allow_protocol_mismatch: bool = Field(
        default=False, description="Serve a checkpoint although it was trained on another protocol, or on none."
    )
    vllm_urls: tuple[str, ...] = Field(
        default=(), description="Base URLs of the vLLM servers for vllm-http, which hold the same model; a JSON list."
    )
    vllm_key: SecretStr | None = Field(default=None, description="The API key that the vLLM servers ask for.")
    vllm_args: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of vLLM's AsyncEngineArgs for the vllm engine; a JSON object."
    )
    constraint: Literal["auto", "machine", "guidance", "xgrammar", "none"] = Field(
        default="auto",
        description="What must constrain a vLLM: machine, guidance, xgrammar, none, or auto, the first of these three that binds.",
    )
    connect_seconds: float = Field(default=2.0, gt=0, description="Longest time to reach a vLLM server.")
    first_token_seconds: float = Field(
        default=30.0, gt=0, description="Longest time to the first token of a reply; then another replica is asked."
    )
    next_token_seconds: float = Field(
        default=10.0, gt=0, description="Longest time between tokens; then the reply fails closed."
    )
    canary_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Time between two proofs that a vLLM is constrained; more often while it is out.",
    )
    upstream_url: str | None = Field(
        default=None,
        description="Base URL (with /v1) of an OpenAI-compatible server whose model answers what the guard allows.",
    )
    upstream_model: str | None = Field(
        default=None, description="The model asked there; clients ask for it by this name."
    )
    upstream_key: SecretStr | None = Field(default=None, description="The API key for it.")
    upstream_window: int = Field(
        default=1000,
        ge=1,
        description="Characters of its streamed reply that are held back and judged at a time.",
    )
    max_in_flight: int = Field(default=8, ge=1, description="Requests that a worker's engine works on at once.")
    max_queue: int = Field(default=64, ge=0, description="Requests that may wait in a worker; the next one gets a 503.")
    retry_after: int = Field(default=2, ge=1, description="Seconds that a request turned away is told to wait.")
    client_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Longest wait for a client to send the next part of a body, or to take the next part of a stream.",
    )
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
    image_hosts: tuple[Host, ...] = Field(
        default=(),
        description="Hosts from which https pictures are fetched, exact names in lower case, or name:port; a JSON list.",
    )
    image_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(),
        description="Networks where these hosts may be beside public addresses, such as 10.1.0.0/16; a JSON list.",
    )
    image_seconds: float = Field(default=5.0, gt=0, description="Longest time to fetch one picture.")
    console: bool = Field(default=True, description="Serve the console under /.")
    metrics: bool = Field(default=True, description="Serve Prometheus metrics under /metrics.")
    tracing: bool = Field(
        default=False, description="Send OpenTelemetry traces by OTLP over HTTP; the OTEL_ variables say where to."
    )
    audit: bool = Field(default=True, description="Keep a signed record of every case; see audit.md.")
    audit_dir: Path = Field(
        default=USER_AUDIT,
        description="Folder of the spool, the keys of receipts, and the database unless it has a URL.",
    )
    audit_url: SecretStr | None = Field(
        default=None,
        description="The database, postgresql://USER:PASSWORD@HOST/NAME; SQLite in SAFER_AUDIT_DIR if not set.",
    )
    audit_content: Content = Field(
        default=Content.REDACTED,
        description="What is kept of what was said: none, hashed, redacted (traces without free texts) or full.",
    )
    audit_fsync: bool = Field(
        default=False,
        description="Wait for the disk before a reply ends, so that not even a power failure loses its record.",
    )
    audit_spool_bytes: int = Field(
        default=256 * 2**20,
        ge=1,
        description="Bytes of records that may wait for the database in each worker; then requests get a 503.",
    )
    audit_days: int | None = Field(default=None, ge=1, description="Days that records are kept; for ever if not set.")
    audit_bytes: int | None = Field(
        default=None, ge=1, description="Bytes of records that are kept, the newest; all if not set."
    )
    receipt_key_file: FilePath | None = Field(
        default=None,
        description="Private key (Ed25519, PEM) that signs receipts; one is made in SAFER_AUDIT_DIR if not set.",
    )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @field_validator("limits_url")
    @classmethod
    def _is_known(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value() != "memory://" and not url.get_secret_value().startswith(("redis://", "rediss://")):
            raise ValueError("Neither memory:// nor redis://HOST:PORT/DATABASE nor rediss://")
        return url

    @field_validator("audit_url")
    @classmethod
    def _is_a_database(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("sqlite:///", "postgresql://")):
            raise ValueError("Neither sqlite:///FILE nor postgresql://USER:PASSWORD@HOST/NAME")
        return url

    @model_validator(mode="after")
    def _has_two_ports(self) -> Self:
        if self.internal_port == self.port:
            raise ValueError("SAFER_INTERNAL_PORT and SAFER_PORT: the internal port must be another one")
        return self

    @model_validator(mode="after")
    def _has_both_or_neither(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("SAFER_TLS_CERTIFICATE and SAFER_TLS_KEY: set both or neither")
        return self

    @model_validator(mode="after")
    def _upstream_is_whole(self) -> Self:
        if (self.upstream_url is None) != (self.upstream_model is None):
            raise ValueError("SAFER_UPSTREAM_URL and SAFER_UPSTREAM_MODEL go together: set both or neither")
        return self
