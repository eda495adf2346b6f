"""`safer ask`."""

import json
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safer_server.cli.options import AllowMismatch, EngineKind, Model, engine_of, policies_of, settings_with

if TYPE_CHECKING:
    from safer_server.cli.display import Display
    from safer_server.engines.base import Engine
    from safer_server.policies import Policies
    from safer_server.settings import Settings

Question = Annotated[str, typer.Argument(help="What to ask.")]
Images = Annotated[
    list[Path] | None,
    typer.Option("--image", help="A picture to show; may be given several times.", exists=True, dir_okay=False),
]
Depth = Annotated[str | None, typer.Option(help="How much the trace may say: brief, standard or full.")]
Policy = Annotated[
    Path | None, typer.Option(help="A policy file to answer under; a server has its own.", exists=True, dir_okay=False)
]
Url = Annotated[str | None, typer.Option(help="Ask a running server, such as http://127.0.0.1:8000.")]
Key = Annotated[str, typer.Option(help="The API key for that server.", envvar="SAFER_KEY", show_default=False)]


def ask(
    question: Question,
    image: Images = None,
    depth: Depth = None,
    url: Url = None,
    key: Key = "none",
    model: Model = None,
    engine: EngineKind = None,
    policy: Policy = None,
    allow_protocol_mismatch: AllowMismatch = None,
) -> None:
    """Ask one question and watch plan, steps and answer as they come.

    The engine runs in this process unless --url names a server. Exits with 1 where there was no verified reply.
    """
    from rich.console import Console

    from safer_server.cli.display import Display

    parts: list[dict[str, Any]] = [{"type": "text", "text": question}]
    parts += [{"type": "image_url", "image_url": {"url": _data_url(path)}} for path in image or ()]
    body: dict[str, Any] = {"messages": [{"role": "user", "content": parts}]}
    if depth is not None:
        body["safer"] = {"depth": depth}
    display = Display(Console(highlight=False))
    if url is not None:
        verified = _ask_server(url.rstrip("/").removesuffix("/v1"), key, body, display)
    else:
        files = (policy,) if policy else None
        settings = settings_with(
            model=model, engine=engine, policies=files, allow_protocol_mismatch=allow_protocol_mismatch
        )
        policies = policies_of(settings)
        body.setdefault("safer", {})["policy"] = list(policies)[-1]
        verified = _ask_here(settings, engine_of(settings, policies), policies, body, display)
    if not verified:
        raise typer.Exit(1)


def _data_url(path: Path) -> str:
    from mimetypes import guess_type

    kind = guess_type(path.name)[0] or "image/png"
    return f"data:{kind};base64,{b64encode(path.read_bytes()).decode('ascii')}"


def _ask_here(
    settings: "Settings", engine: "Engine", policies: "Policies", body: dict[str, Any], display: "Display"
) -> bool:
    import asyncio
    from contextlib import suppress

    from pydantic import ValidationError

    from safer_server.app import intake
    from safer_server.body import invalid
    from safer_server.errors import ApiError
    from safer_server.events import Delivered, Finished, Reasoning
    from safer_server.guard import Guard
    from safer_server.readiness import until_up
    from safer_server.wire.request import ChatRequest

    door = intake(settings, engine, policies)

    async def run() -> bool:
        request = ChatRequest.model_validate_json(json.dumps({**body, "model": engine.model}))
        submission = door.chat(request)
        verified = False
        await engine.start()
        with suppress(TimeoutError):  # the guard then says what is wrong
            async with asyncio.timeout(settings.first_token_seconds):
                await until_up(engine)
        async for event in Guard(engine, settings.request_seconds).judge(await door.case(submission)):
            match event:
                case Reasoning(line):
                    display.reasoning(line)
                case Delivered(text, is_refusal):
                    display.delivered(text, refused=is_refusal)
                case Finished(record):
                    verified = record.failure is None
                    display.ended(record.outcome, record.decision, record.failure, record.timings.total)
        await engine.close()
        return verified

    try:
        return asyncio.run(run())
    except ValidationError as error:
        return _complain(invalid(error.errors(include_url=False, include_input=False)[0]).message)
    except ApiError as error:
        return _complain(error.message)


def _ask_server(url: str, key: str, body: dict[str, Any], display: "Display") -> bool:
    try:
        import openai
    except ModuleNotFoundError:
        return _complain("--url needs the OpenAI client: pip install openai")

    options = {"safer": body["safer"]} if "safer" in body else {}
    try:
        with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
            model = client.models.list().data[0].id
            stream = client.chat.completions.create(
                model=model, messages=body["messages"], stream=True, extra_body=options
            )
            for chunk in stream:
                if chunk.choices:
                    delta = chunk.choices[0].delta
                    display.reasoning((delta.model_extra or {}).get("reasoning") or "")
                    if delta.content or delta.refusal:
                        display.delivered(delta.content or delta.refusal or "", refused=bool(delta.refusal))
                safer = (chunk.model_extra or {}).get("safer")
                if safer:
                    total = safer["timings_ms"]["total"]
                    display.ended(safer["outcome"], safer["decision"], safer["failure"], total)
                    return safer["failure"] is None
    except openai.APIStatusError as error:
        return _complain(error.message)
    except openai.APIError as error:
        return _complain(f"{url}: {error.message}")
    return _complain(f"{url}: the stream ended early")


def _complain(message: str) -> bool:
    typer.echo(message, err=True)
    return False
