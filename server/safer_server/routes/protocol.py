"""`GET /v1/protocol` and `POST /v1/traces/verify`."""

from typing import Self

from fastapi import APIRouter, Request
from pydantic import BaseModel, model_validator
from pydantic_core import PydanticCustomError

from safer_protocol.decision import Decision
from safer_protocol.plan import Plan
from safer_protocol.policy import DEFAULT_POLICY, Policy
from safer_protocol.reply import Reply
from safer_protocol.toolkit import Toolkit
from safer_protocol.trace import Call
from safer_protocol.verify import Report, verify
from safer_protocol.violation import Violation
from safer_server.body import ClientLimits, JsonBody
from safer_server.errors import NotFoundError
from safer_server.policies import Policies
from safer_server.protocol_card import ProtocolCard, protocol_card
from safer_server.wire.request import Wire, example

MAX_TRACE_BYTES = 262_144
"""Longest body to verify; the work is done between two requests of the event loop."""


class TraceToVerify(Wire):
    """A reply, or its beginning up to the decision: as `text`, or as `plan`, `trace` and perhaps `answer`."""

    model_config = example(
        plan={
            "category": "none",
            "risk": "none",
            "persona": "assistant",
            "topology": "mesh",
            "depth": "brief",
            "tools": ["KEYWORD-FLAGGING", "RISK-SCORER", "SAFETY-GATE"],
        },
        trace=[
            {"tool": "KEYWORD-FLAGGING", "fields": {"flagged": False, "terms": []}},
            {"tool": "RISK-SCORER", "fields": {"category": "none", "level": "none", "score": 0}},
            {"tool": "SAFETY-GATE", "fields": {"rationale": "a question about a city", "verdict": "allow"}},
        ],
        answer="The capital of France is Paris.",
    )

    text: str | None = None
    plan: Plan | None = None
    trace: tuple[Call, ...] | None = None
    answer: str | None = None
    policy: str = DEFAULT_POLICY

    @model_validator(mode="after")
    def _is_one_form(self) -> Self:
        as_json = self.plan is not None and self.trace is not None
        is_mixed = self.text is not None and (self.plan, self.trace, self.answer) != (None, None, None)
        if is_mixed or (self.text is None and not as_json):
            raise PydanticCustomError("one_form", "give either text, or plan and trace with or without answer")
        return self

    def report(self, toolkit: Toolkit) -> Report:
        """Verify it."""
        if self.plan is None or self.trace is None:
            return verify(self.text or "", toolkit)
        return verify(Reply(plan=self.plan, trace=self.trace, answer=self.answer), toolkit)


class TraceReport(BaseModel):
    """What the verifier says."""

    valid: bool
    violations: tuple[Violation, ...]
    decision: Decision | None
    protocol_hash: str
    policy: str
    policy_hash: str


def protocol_router(policies: Policies, client_seconds: float) -> APIRouter:
    """Describe the protocol and verify traces against it."""
    router = APIRouter()
    to_verify = JsonBody(TraceToVerify, ClientLimits(MAX_TRACE_BYTES, client_seconds))
    cards = {name: protocol_card(policy) for name, policy in policies.items()}

    @router.get("/v1/protocol")
    async def get_protocol(policy: str = DEFAULT_POLICY) -> ProtocolCard:
        return cards[_known(policy, policies).name]

    @router.post("/v1/traces/verify", openapi_extra=to_verify.openapi)
    async def verify_trace(request: Request) -> TraceReport:
        body = await to_verify.read(request)
        policy = _known(body.policy, policies)
        report = body.report(policy.toolkit)
        return TraceReport(
            valid=report.valid,
            violations=report.violations,
            decision=report.decision,
            protocol_hash=policy.protocol_hash,
            policy=policy.name,
            policy_hash=policy.policy_hash,
        )

    return router


def _known(name: str, policies: Policies) -> Policy:
    if name not in policies:
        raise NotFoundError("policy: there is no such policy", param="policy", code="policy_not_found")
    return policies[name]
