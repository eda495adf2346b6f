"""From a chat completion request to a case: what the types cannot check, and the pictures."""

from dataclasses import dataclass

from safer_protocol.decision import Decision
from safer_protocol.plan import Plan
from safer_protocol.policy import Policy
from safer_protocol.prompt import ImagePart, Role, Turn
from safer_protocol.reply import Reply
from safer_protocol.toolkit import Toolkit
from safer_protocol.verify import verify
from safer_protocol.violation import Code
from safer_server.case import Case, Coverage, Part, UnjudgedPart
from safer_server.engines.base import Constraint, Sampling
from safer_server.errors import InvalidRequestError, NotFoundError, TooLargeError
from safer_server.media import Media, read_picture
from safer_server.policies import Policies
from safer_server.wire.request import AssistantMessage, ChatRequest, Message, SaferOptions, TextPart
from safer_server.wire.request import ImagePart as WireImage

_PLAN_CODES = (Code.PLAN_VALUE, Code.PLAN_TOOLS, Code.UNKNOWN_TOOL)


@dataclass(frozen=True)
class Intake:
    """What this server takes: its model, its policies and its limits."""

    model: str
    policies: Policies
    media: Media
    max_images: int
    answer_tokens: int

    def check(self, request: ChatRequest) -> None:
        """Raise the `ApiError` for a request that cannot be served, before it waits for its turn."""
        if request.model != self.model:
            raise NotFoundError("model: this server does not serve it", param="model", code="model_not_found")
        if request.stream_options is not None and not request.stream:
            message = "stream_options: only allowed with stream"
            raise InvalidRequestError(message, param="stream_options", code="invalid_value")
        last = len(request.messages) - 1
        if request.messages[last].role != "user":
            param = f"messages[{last}].role"
            raise InvalidRequestError(
                f"{param}: the last message must be the user's", param=param, code="invalid_value"
            )
        self._check_options(request.safer or SaferOptions())
        images = [path for path, part in _parts(request) if isinstance(part, WireImage)]
        if len(images) > self.max_images:
            param = images[self.max_images]
            raise TooLargeError(f"{param}: more than {self.max_images} pictures", param=param)

    def _check_options(self, options: SaferOptions) -> None:
        toolkit = self.policy(options).toolkit
        if options.plan is None:
            return
        if options.depth not in (None, options.plan.depth):
            message = "safer.depth: not the depth of the plan"
            raise InvalidRequestError(message, param="safer.depth", code="invalid_value")
        problem = _plan_problem(options.plan, toolkit)
        if problem is not None:
            key, message = problem
            raise InvalidRequestError(f"safer.plan.{key}: {message}", param=f"safer.plan.{key}", code="invalid_value")

    def policy(self, options: SaferOptions) -> Policy:
        """Return the policy that was asked for; raise `NotFoundError` where there is none of that name."""
        policy = self.policies.get(options.policy)
        if policy is None:
            message = "safer.policy: there is no such policy"
            raise NotFoundError(message, param="safer.policy", code="policy_not_found")
        return policy

    async def case(self, request: ChatRequest) -> Case:
        """Build the case of a checked request, its pictures decoded."""
        options = request.safer or SaferOptions()
        turns: list[Turn] = []
        judged: list[Part] = []
        unjudged: list[UnjudgedPart] = []
        for index, message in enumerate(request.messages):
            parts: list[str | ImagePart] = []
            for path, part in _parts_of(index, message):
                if isinstance(part, str):
                    parts.append(part)
                    judged.append(Part(path, "text"))
                    continue
                picture = await read_picture(part.image_url.url, path, self.media)
                parts.append(ImagePart(picture.image))
                judged.append(Part(path, "image"))
                if picture.animated:
                    unjudged.append(UnjudgedPart(path, "image", "only the first frame was looked at"))
            turns.append(Turn(_role(message), tuple(parts)))
        return Case(
            turns=tuple(turns),
            coverage=Coverage(tuple(judged), tuple(unjudged)),
            policy=self.policy(options),
            sampling=self._sampling(request),
            constraint=Constraint(depth=options.depth, plan=options.plan),
            completion_tokens=request.max_completion_tokens,
            stop=request.stop,
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


def _plan_problem(plan: Plan, toolkit: Toolkit) -> tuple[str, str] | None:
    """Return the key and fault of a plan that the guard could not follow, or that would not let it refuse."""
    report = verify(Reply(plan=plan, trace=(), answer=None), toolkit)
    for violation in report.violations:
        if violation.step is None and violation.code in _PLAN_CODES:
            return violation.field or "tools", violation.message
    if not toolkit.permitted_verdicts((Decision.REFUSE,), plan.risk, plan.category):
        return "risk", "a plan given in advance must leave room for a refusal"
    return None


def _role(message: Message) -> Role:
    return "system" if message.role == "developer" else message.role


def _parts(request: ChatRequest) -> list[tuple[str, str | WireImage]]:
    return [part for index, message in enumerate(request.messages) for part in _parts_of(index, message)]


def _parts_of(index: int, message: Message) -> list[tuple[str, str | WireImage]]:
    """Every text and picture of a message, with the path that names it."""
    at = f"messages[{index}]"
    parts: list[tuple[str, str | WireImage]] = []
    match message.content:
        case str(text):
            parts.append((f"{at}.content", text))
        case tuple(items):
            for number, item in enumerate(items):
                parts.append((f"{at}.content[{number}]", item.text if isinstance(item, TextPart) else item))
    if isinstance(message, AssistantMessage) and message.refusal:
        parts.append((f"{at}.refusal", message.refusal))
    return parts
