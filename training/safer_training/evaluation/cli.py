"""`safer eval`: commands that measure guards and models."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from safer_protocol.toolkit import default_toolkit
from safer_training.evaluation.reporting_cli import reporting
from safer_training.told import told

if TYPE_CHECKING:
    from safer_training.evaluation.run import Progress
    from safer_training.evaluation.runner import Order
    from safer_training.evaluation.targets.baselines import BaselineName
    from safer_training.evaluation.targets.target import Target

evaluation = typer.Typer(help="Measure guards and models.", no_args_is_help=True)
evaluation.add_typer(reporting)

ONE_TARGET = "exactly one of --endpoint, --moderations, --model and --baseline says who replies"


@evaluation.callback()
def _evaluation() -> None:
    """Measure guards and models."""


@evaluation.command()
def run(
    suite: Annotated[str, typer.Argument(help="A suite's name (`safer eval suites` lists them) or its YAML file.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; where it holds this run already, it goes on.")],
    data: Annotated[Path | None, typer.Option(help="Where the suite was downloaded to.")] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Base URL of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1.")
    ] = None,
    moderations: Annotated[
        str | None, typer.Option(help="Base URL of a server whose /moderations classifies the last message.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Folder of a checkpoint.")] = None,
    baseline: Annotated[str | None, typer.Option(help="refuse-all, answer-all, keywords, words or profanity.")] = None,
    served: Annotated[str | None, typer.Option(help="The server's model, where it serves several.")] = None,
    unconstrained: Annotated[bool, typer.Option(help="Let the checkpoint write without the mask machine.")] = False,
    learn_from: Annotated[
        Path | None, typer.Option(help="Folder of facts that `words` learns from, beside the project's own requests.")
    ] = None,
    variants: Annotated[
        str, typer.Option(help="Comma-separated: plain, no_image, no_text, reworded, noisy, seed-N.")
    ] = "plain",
    limit: Annotated[int | None, typer.Option(min=1, help="About so many items, chosen by their names' hash.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="Instead of the suite's own.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Of a whole reply, instead of the suite's own.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sampling.")] = None,
    extra: Annotated[str, typer.Option(help="Further fields of the request's body, as a JSON object.")] = "{}",
    at_once: Annotated[int, typer.Option(min=1, help="Requests to a server at the same time.")] = 8,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a server has for a reply.")] = 300.0,
) -> None:
    """Have a target reply to every item of a suite; given again after an interruption, it goes on.

    Every reply is kept as it comes. The key for a server, where one is needed, is read from OPENAI_API_KEY.

    Example: safer eval run xstest --data DATA --endpoint http://127.0.0.1:8000/v1 --out runs/xstest
    """
    from safer_training.evaluation.progress import shown_progress
    from safer_training.evaluation.runner import carry_out
    from safer_training.evaluation.store import Store

    targets = (endpoint, moderations, model, baseline)
    if sum(target is not None for target in targets) != 1:
        raise typer.BadParameter(ONE_TARGET)
    _refuse(unconstrained and model is None, "--unconstrained is for --model")
    _refuse(served is not None and not (endpoint or moderations), "--served is for --endpoint and --moderations")
    _refuse(learn_from is not None and baseline != "words", "--learn-from is for --baseline words")
    changes = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed, "extra": _object(extra)}

    @asynccontextmanager
    async def opened() -> AsyncIterator["Target"]:
        if url := endpoint or moderations:
            async with _server(url, served, endpoint is not None, timeout, at_once) as target:
                yield target
        elif model is not None:
            yield _checkpoint(model, constrained=not unconstrained)
        else:
            yield _baseline(baseline or "", learn_from)

    async def everything() -> "Progress":
        order = _order(suite, data, variants, limit, changes)
        async with opened() as target:
            with shown_progress(order.suite) as progress:
                return await carry_out(order, target, Store(out), progress)

    with told():
        try:
            done = asyncio.run(everything())
        except KeyboardInterrupt:
            typer.echo(f"\n{out}: stopped; what was replied is kept, give the same command again to go on", err=True)
            raise typer.Exit(130) from None
    _tell(out, done)


def _refuse(wrong: bool, message: str) -> None:
    if wrong:
        raise typer.BadParameter(message)


def _tell(out: Path, done: "Progress") -> None:
    typer.echo(
        f"{out}: {done.replied} of {done.wanted} questions have a reply; see them with `safer eval report {out}`"
    )
    if done.errors:
        typer.echo(f"{done.errors} have none and count as failures; give the same command again to ask them again:")
        for error, times in sorted(done.kinds.items(), key=lambda kind: -kind[1])[:5]:
            typer.echo(f"  {times} x {error}")


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint="--extra") from error
    if not isinstance(found, dict):
        raise typer.BadParameter("not a JSON object", param_hint="--extra")
    return found


def _order(name: str, data: Path | None, variants: str, limit: int | None, changes: dict[str, Any]) -> "Order":
    from pydantic import ValidationError

    from safer_training.errors import DataError
    from safer_training.evaluation.runner import Order
    from safer_training.evaluation.sampling import Sampling
    from safer_training.evaluation.suite import load_suite
    from safer_training.evaluation.variants import check_variants

    chosen = check_variants(tuple(part.strip() for part in variants.split(",")))
    suite = load_suite(name, data)
    card = suite.card
    fields = {
        **card.sampling.model_dump(),
        "min_pixels": card.min_pixels,
        "max_pixels": card.max_pixels,
        **{key: value for key, value in changes.items() if value is not None},
    }
    try:
        sampling = Sampling.model_validate(fields)
    except ValidationError as error:
        raise DataError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
    return Order(card.name, card.title, suite.load(), sampling, chosen, limit)


@asynccontextmanager
async def _server(url: str, served: str | None, chats: bool, seconds: float, at_once: int) -> AsyncIterator["Target"]:
    from safer_training.evaluation.targets.endpoint import open_endpoint
    from safer_training.evaluation.targets.moderation import open_moderation

    if chats:
        async with open_endpoint(url, served, default_toolkit(), seconds=seconds, at_once=at_once) as endpoint:
            yield endpoint
    else:
        async with open_moderation(url, served, seconds=seconds, at_once=at_once) as moderation:
            yield moderation


def _checkpoint(folder: Path, *, constrained: bool) -> "Target":
    from safer_training.evaluation.targets.checkpoint import Checkpoint

    return Checkpoint(folder, default_toolkit(), constrained=constrained)


def _baseline(name: str, learn_from: Path | None) -> "Target":
    from safer_training.evaluation.targets.baselines import BaselineName, baseline

    if name not in get_args(BaselineName):
        raise typer.BadParameter(f"one of {', '.join(get_args(BaselineName))}", param_hint="--baseline")
    return baseline(cast("BaselineName", name), _train_rows(learn_from) if name == "words" else ())


def _train_rows(folder: Path | None) -> list[Any]:
    from safer_training.data.facts import PROMPTS_FILE
    from safer_training.generate import generate
    from safer_training.rows import read_rows, split

    return split([*(read_rows(folder / PROMPTS_FILE) if folder else []), *generate()])["train"]


@evaluation.command()
def suites() -> None:
    """List the suites that ship, what each measures, and where users get its data.

    Example: safer eval suites
    """
    from safer_training.evaluation.suite import shipped_cards

    for card in shipped_cards():
        typer.echo(f"{card.name} ({card.kind}): {card.measures}\n    {card.folder}/ from {card.source}")
