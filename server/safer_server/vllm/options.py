"""What a request tells the mask machine inside vLLM, and what it must not ask of vLLM beside it.

Imported by vLLM's front end to check each request, so it needs neither torch nor vLLM.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import Field, ValidationError

from safer_protocol.frozen import Frozen
from safer_protocol.plan import Depth, Plan
from safer_protocol.toolkit import Toolkit, default_toolkit
from safer_server.policies import load_policies
from safer_server.settings import Settings

KEY = "safer"
"""The key of `extra_args` (over HTTP: of `vllm_xargs`, as a JSON string) that holds the options."""


class MachineOptions(Frozen):
    """How one request is constrained; a request that says nothing is constrained by the default policy."""

    constrain: bool = True
    """False turns the machine off, for measurements."""
    policy_hash: str | None = None
    depth: Depth | None = None
    plan: Plan | None = None
    """Given in advance: its text and the line that opens the trace stand at the end of the prompt."""
    answer_tokens: int | None = Field(default=None, ge=1)

    def arguments(self) -> dict[str, Any]:
        """Write the options as `extra_args`."""
        return {KEY: self.model_dump(mode="json", exclude_defaults=True)}


@cache
def toolkits() -> Mapping[str, Toolkit]:
    """The toolkits that this process serves, by hash: the default one and those of the files in `SAFER_POLICIES`."""
    policies = load_policies(Settings().policies, default_toolkit())
    return {policy.policy_hash: policy.toolkit for policy in policies.values()}


def options_of(extra_args: Mapping[str, Any] | None) -> MachineOptions:
    """Read the options of a request; raise ValueError naming what is wrong."""
    given = (extra_args or {}).get(KEY, {})
    misspelt = [key for key in extra_args or {} if key != KEY and key.lower().startswith(KEY)]
    if misspelt:
        raise ValueError(f"{misspelt[0]} is unknown: options of the mask machine stand under {KEY}")
    try:
        options = MachineOptions.model_validate_json(given if isinstance(given, str) else json.dumps(given))
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in (KEY, *detail["loc"]))
        raise ValueError(f"{where}: {detail['msg']}") from None
    if options.policy_hash not in (None, *toolkits()):
        raise ValueError(f"{KEY}.policy_hash: this server does not serve that policy")
    return options


def contradictions(params: Any) -> Iterator[str]:
    """Name the sampling parameters that could leave nothing to choose, or end a reply where it is not finished.

    Where nothing is left vLLM samples token 0 without an error, so such requests are refused.
    """
    for name in ("min_tokens", "allowed_token_ids", "bad_words", "ignore_eos", "stop", "structured_outputs"):
        if getattr(params, name, None):
            yield name
    for name in ("thinking_token_budget", "repetition_detection", "trace_decode_token_ids"):
        if getattr(params, name, None) is not None:
            yield name


def check(params: Any) -> None:
    """Raise ValueError where the sampling parameters of a request contradict the machine."""
    options = options_of(params.extra_args)
    if not options.constrain:
        return
    named = list(contradictions(params))
    if named:
        raise ValueError(f"{named[0]} contradicts the mask machine, which constrains every reply")
