"""From a request to a case: what the types cannot check, and the pictures."""

from dataclasses import dataclass, field, replace

from safer_protocol.decision import Decision
from safer_protocol.plan import Plan
from safer_protocol.policy import Policy
from safer_protocol.prompt import ImagePart, Turn
from safer_protocol.reply import Reply
from safer_protocol.toolkit import Toolkit
from safer_protocol.verify import verify
from safer_protocol.violation import Code
from safer_server.case import Case, Coverage, Part, UnjudgedPart
from safer_server.conversation import Conversation, of_messages, of_parts, of_text
from safer_server.engines.base import Constraint, Sampling
from safer_server.errors import ApiError, InvalidRequestError, NotFoundError, TooLargeError
from safer_server.guardrail import of_guardrail
from safer_server.media import Media, read_picture
from safer_server.policies import Policies
from safer_server.upstream import UpstreamRequest, forward
from safer_server.wire.check import CheckRequest, GuardrailOptions, GuardrailRequest, ModerationRequest
from safer_server.wire.request import ChatRequest, CheckOptions, JudgeOptions, SaferOptions

_PLAN_CODES = (Code.PLAN_VALUE, Code.PLAN_TOOLS, Code.UNKNOWN_TOOL)
_ALL = tuple(Decision)
_NOT_ALLOWED = tuple(decision for decision in Decision if decision is not Decision.ALLOW)


@dataclass(frozen=True)
class Submission:
    """A request that can be served: a case whose pictures have not been decoded yet."""

    conversation: Conversation
    policy: Policy
    constraint: Constraint
    answers: tuple[Decision, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    completion_tokens: int | None = None
    stop: tuple[str, ...] = ()
    upstream: UpstreamRequest | None = None
    """What the model behind this server is asked, if the request is allowed."""
    skips_pictures: bool = False
    """Whether a picture that cannot be read is unjudged instead of an error."""


@dataclass(frozen=True)
class Intake:
    """What this server takes: its model, the one behind it if there is one, its policies and its limits."""

    model: str
    upstream: str | None
    policies: Policies
    media: Media
    max_images: int
    answer_tokens: int

    def chat(self, request: ChatRequest) -> Submission:
        """Take a chat completion; raise the `ApiError` that says why it cannot be served."""
        if request.model not in (self.model, self.upstream):
            raise NotFoundError("model: this server does not serve it", param="model", code="model_not_found")
        if request.stream_options is not None and not request.stream:
            message = "stream_options: only allowed with stream"
            raise InvalidRequestError(message, param="stream_options", code="invalid_value")
        options = request.safer or SaferOptions()
        is_check = options.mode == "check"
        last = len(request.messages) - 1
        if request.messages[last].role != "user" and not is_check:
            message = f"messages[{last}].role: the last message must be the user's"
            raise InvalidRequestError(message, param=f"messages[{last}].role", code="invalid_value")
        taken = self._take(of_messages(request.messages), options)
        if is_check:
            return taken
        if request.model == self.upstream:
            answers = () if taken.policy.enforcement == "shadow" else _NOT_ALLOWED
            return replace(taken, answers=answers, upstream=forward(request))
        return replace(
            taken,
            answers=_ALL,
            sampling=self._sampling(request),
            completion_tokens=request.max_completion_tokens,
            stop=request.stop,
        )

    def check(self, request: CheckRequest) -> Submission:
        """Take a conversation to check."""
        self._check_model(request.model)
        return self._take(of_messages(request.messages), request.safer or CheckOptions())

    def moderation(self, request: ModerationRequest) -> tuple[Submission, ...]:
        """Take the inputs of a moderation, each of which is judged for itself."""
        self._check_model(request.model)
        given = (request.input,) if isinstance(request.input, str) else request.input
        texts = [
            of_text(one, "input" if given[0] is request.input else f"input[{number}]")
            for number, one in enumerate(given)
            if isinstance(one, str)
        ]
        conversations = texts or [of_parts(tuple(one for one in given if not isinstance(one, str)), "input")]
        return tuple(self._take(one, request.safer or JudgeOptions()) for one in conversations)

    def guardrail(self, request: GuardrailRequest) -> Submission:
        """Take what LiteLLM wants to have judged."""
        given = request.additional_provider_specific_params or GuardrailOptions()
        options = JudgeOptions(policy=given.policy, depth=given.depth)
        return replace(self._take(of_guardrail(request), options), skips_pictures=True)

    def _check_model(self, model: str | None) -> None:
        if model not in (None, self.model):
            raise NotFoundError("model: this server does not judge with it", param="model", code="model_not_found")

    def _take(self, conversation: Conversation, options: JudgeOptions) -> Submission:
        policy = self._policy(options)
        plan = options.plan if isinstance(options, CheckOptions) else None
        if plan is not None:
            _check_plan(plan, options, policy.toolkit)
        images = [said.path for turn in conversation for said in turn.parts if said.type == "image"]
        if len(images) > self.max_images:
            param = images[self.max_images]
            raise TooLargeError(f"{param}: more than {self.max_images} pictures", param=param)
        return Submission(conversation, policy, Constraint(depth=options.depth, plan=plan))

    def _policy(self, options: JudgeOptions) -> Policy:
        policy = self.policies.get(options.policy)
        if policy is None:
            message = "safer.policy: there is no such policy"
            raise NotFoundError(message, param="safer.policy", code="policy_not_found")
        return policy

    async def case(self, submission: Submission) -> Case:
        """Build the case, its pictures decoded."""
        turns: list[Turn] = []
        judged: list[Part] = []
        unjudged: list[UnjudgedPart] = []
        hashes: dict[str, str] = {}
        for utterance in submission.conversation:
            parts: list[str | ImagePart] = []
            unjudged += utterance.unjudged
            for said in utterance.parts:
                if said.type == "text":
                    parts.append(said.value)
                    judged.append(Part(said.path, "text"))
                    continue
                try:
                    picture = await read_picture(said.value, said.path, self.media)
                except ApiError as error:
                    if not submission.skips_pictures:
                        raise
                    unjudged.append(UnjudgedPart(said.path, "image", error.message))
                    continue
                parts.append(ImagePart(picture.image))
                hashes[said.path] = picture.sha256
                judged.append(Part(said.path, "image"))
                if picture.animated:
                    unjudged.append(UnjudgedPart(said.path, "image", "only the first frame was looked at"))
            turns.append(Turn(utterance.role, tuple(parts)))
        return Case(
            turns=tuple(turns),
            coverage=Coverage(tuple(judged), tuple(unjudged)),
            policy=submission.policy,
            sampling=submission.sampling,
            constraint=submission.constraint,
            completion_tokens=submission.completion_tokens,
            stop=submission.stop,
            hashes=hashes,
            answers=submission.answers,
        )

    def _sampling(self, request: ChatRequest) -> Sampling:
        """Take the caller's wishes over; greedy where there are none, for a guard shall say the same thing twice."""
        asked = (self.answer_tokens, request.max_tokens, request.max_completion_tokens)
        return Sampling(
            temperature=request.temperature or 0.0,
            top_p=1.0 if request.top_p is None else request.top_p,
            seed=request.seed,
            answer_tokens=min(tokens for tokens in asked if tokens is not None),
            reply_tokens=request.max_completion_tokens,
        )


def _check_plan(plan: Plan, options: JudgeOptions, toolkit: Toolkit) -> None:
    """Refuse a plan that the guard could not follow, or that would not let it refuse."""
    if options.depth not in (None, plan.depth):
        raise InvalidRequestError("safer.depth: not the depth of the plan", param="safer.depth", code="invalid_value")
    report = verify(Reply(plan=plan, trace=(), answer=None), toolkit)
    wrong = [one for one in report.violations if one.step is None and one.code in _PLAN_CODES]
    if wrong:
        raise _plan_error(wrong[0].field or "tools", wrong[0].message)
    if not toolkit.permitted_verdicts((Decision.REFUSE,), plan.risk, plan.category):
        raise _plan_error("risk", "a plan given in advance must leave room for a refusal")


def _plan_error(key: str, message: str) -> InvalidRequestError:
    return InvalidRequestError(f"safer.plan.{key}: {message}", param=f"safer.plan.{key}", code="invalid_value")
