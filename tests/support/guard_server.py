"""A guard before vLLM servers: the app in a thread, on loopback, with the official client."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import httpx
from openai import OpenAI
from PIL import Image, ImageDraw, ImageFont

from safer_protocol.policy import DEFAULT_POLICY
from safer_protocol.toolkit import default_toolkit
from safer_protocol.verify import verify
from safer_server.app import create_app
from safer_server.engines.table import open_engine
from safer_server.policies import Policies, load_policies
from safer_server.settings import Settings
from threaded_server import serving_app
from waiting import PATIENCE, wait_for


@dataclass(frozen=True)
class GuardServer:
    """A running guard."""

    url: str
    web: httpx.Client
    openai: Any
    """Typed loosely, for its types know no vendor object and no plain dictionaries."""
    policies: Policies

    def is_ready(self) -> bool:
        """Whether it takes requests."""
        return self.web.get("/readyz").status_code == 200

    def wait(self, seconds: float = PATIENCE) -> "GuardServer":
        """Wait until it takes requests."""
        wait_for(self.is_ready, seconds)
        return self

    def create(self, content: Any, **fields: Any) -> Any:
        """Ask with the official client: messages, or the content of one; `safer` is the vendor object."""
        safer = {"extra_body": {"safer": fields.pop("safer")}} if "safer" in fields else {}
        messages = content if isinstance(content, list) and "role" in content[0] else [user(content)]
        return self.openai.chat.completions.create(model="tiny", messages=messages, **fields, **safer)

    def replica_states(self) -> dict[str, tuple[bool, str | None]]:
        """What `/version` says of each replica: whether it is up, and what constrains it."""
        told = self.web.get("/version").json()["replicas"]
        return {one["replica"]: (one["up"], one["constraint"]) for one in told}

    def metric(self, series: str) -> float:
        """Read one series, such as `safer_engine_up{replica="0"}`; 0 where there is none."""
        lines = self.web.get("/metrics").text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} ")), 0.0)

    def check(self, reply: Any) -> None:
        """Verify what was told of a whole reply with the protocol's own verifier, under the policy it names."""
        message = reply.choices[0].message
        spoken = message.content if message.refusal is None else message.refusal
        text = f"{message.reasoning}<answer>\n{spoken}\n</answer>\n"
        report = verify(text, self.policies[reply.safer["policy"] or DEFAULT_POLICY].toolkit)
        assert report.violations == ()
        assert report.decision == reply.safer["decision"]
        assert reply.safer["failure"] is None


def user(content: Any) -> dict[str, Any]:
    """Make a message of the user's."""
    return {"role": "user", "content": content}


def drawn(text: str) -> Image.Image:
    """Draw a text."""
    image = Image.new("RGB", (300, 90), "white")
    ImageDraw.Draw(image).text((10, 20), text, "black", font=ImageFont.load_default(20))
    return image


def shown(text: str) -> list[dict[str, Any]]:
    """Make the content of a message that asks about a picture of a text."""
    file = BytesIO()
    drawn(text).save(file, "PNG")
    url = "data:image/png;base64," + b64encode(file.getvalue()).decode()
    return [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "Answer the request in the picture."},
    ]


@contextmanager
def guard_before(urls: Sequence[str], **settings: Any) -> Iterator[GuardServer]:
    """Run a guard before vLLM servers that have to run the mask machine, unless the settings say otherwise."""
    chosen = {"constraint": "machine", "canary_seconds": 5, "connect_seconds": 20, **settings}
    with guard_of(Settings(engine="vllm-http", vllm_urls=tuple(urls), **chosen)) as guard:
        yield guard


@contextmanager
def guard_of(settings: Settings) -> Iterator[GuardServer]:
    """Run a guard with the engine that the settings name."""
    policies = load_policies(settings.policies, default_toolkit())
    app = create_app(settings, open_engine(settings, policies), policies)
    with (
        serving_app(app, lifespan="on", timeout_graceful_shutdown=5) as server,
        httpx.Client(base_url=server.url, timeout=PATIENCE, trust_env=False) as web,
        OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE) as openai,
    ):
        yield GuardServer(server.url, web, openai, policies)
