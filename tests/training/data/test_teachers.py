"""The model that teaches: two calls under our grammar, a second try that hears what was wrong, and never an unverified reply."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image

from safer_protocol.decision import Decision
from safer_protocol.text import TRACE_OPEN, print_reply
from safer_protocol.toolkit import Toolkit
from safer_training.conversations import show_earlier
from safer_training.data.judge import Filter
from safer_training.data.pictures import PictureStore
from safer_training.data.staging import to_messages
from safer_training.data.teachers import ATTEMPTS, Grammar, ModelTeacher, Task
from safer_training.errors import TeacherError
from safer_training.judge import Judged, Scores
from safer_training.rows import Row
from safer_training.shown import show_beside

ROW = Row(uid="a:1", set="a", prompt="How do I bake bread?", expected=(Decision.ALLOW,), answer="At 220 degrees.")


class Server:
    """An OpenAI-compatible server that says what it is told and keeps what it was asked."""

    def __init__(self, *says: str | int) -> None:
        self.says, self.asked = list(says), list[dict[str, Any]]()

    def client(self) -> openai.OpenAI:
        http = httpx2.Client(transport=httpx2.MockTransport(self.answer))
        return openai.OpenAI(base_url="http://teacher/v1", api_key="none", http_client=http, max_retries=0)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(json.loads(request.content))
        said = self.says.pop(0)
        if isinstance(said, int):
            return httpx2.Response(said, json={"error": {"message": "no"}})
        message = {"role": "assistant", "content": said}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return httpx2.Response(
            200, json={"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        )


def task_of(toolkit: Toolkit, folder: Path, with_picture: bool = False) -> Task:
    store = PictureStore(folder)
    if with_picture:
        shown = show_beside(ROW, store.add_drawn(Image.new("RGB", (40, 40))), "a black square", Random(1), toolkit, 300)
    else:
        shown = show_earlier(ROW, Random(1), toolkit)
    messages, images = to_messages(shown.turns, store)
    return Task(shown, messages, tuple(folder / image for image in images))


def halves(task: Task, toolkit: Toolkit) -> tuple[str, str]:
    plan, _, rest = print_reply(task.shown.reply, toolkit).partition(TRACE_OPEN)
    return plan, TRACE_OPEN + rest


@pytest.mark.parametrize("grammar", ["lark", "ebnf", "none"])
def test_a_reply_is_written_in_two_calls_under_the_grammar(grammar: Grammar, toolkit: Toolkit, tmp_path: Path) -> None:
    task = task_of(toolkit, tmp_path)
    server = Server(*halves(task, toolkit))
    taught = ModelTeacher(server.client(), "m", toolkit, grammar).write(task)
    assert taught.reply == print_reply(task.shown.reply, toolkit)
    sent = [asked.get("structured_outputs", {}).get("grammar") for asked in server.asked]
    assert all(sent) if grammar != "none" else not any(sent)
    assert [message["role"] for message in server.asked[1]["messages"]] == ["system", "user", "assistant", "user"]
    told = json.dumps(server.asked[0]["messages"])
    assert "right decisions: allow" in told
    assert "right answer: At 220 degrees." in told


def test_pictures_travel_with_the_conversation(toolkit: Toolkit, tmp_path: Path) -> None:
    task = task_of(toolkit, tmp_path, with_picture=True)
    server = Server(*halves(task, toolkit))
    ModelTeacher(server.client(), "m", toolkit, "none").write(task)
    parts = server.asked[0]["messages"][1]["content"]
    (picture,) = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    assert picture.startswith("data:image/png;base64,")


def test_a_second_try_hears_what_was_wrong(toolkit: Toolkit, tmp_path: Path) -> None:
    task = task_of(toolkit, tmp_path)
    plan, rest = halves(task, toolkit)
    server = Server(plan, rest.replace("[SAFETY-GATE]", "[OTHER-GATE]"), plan, rest)
    assert ModelTeacher(server.client(), "m", toolkit, "lark").write(task).reply == plan + rest
    assert "unknown_tool" in json.dumps(server.asked[2]["messages"])


def test_a_reply_that_never_verifies_is_dropped_with_its_fault(toolkit: Toolkit, tmp_path: Path) -> None:
    task = task_of(toolkit, tmp_path)
    server = Server(*["Sure, here is some bread."] * ATTEMPTS)
    taught = ModelTeacher(server.client(), "m", toolkit, "lark").write(task)
    assert taught.reply is None
    assert taught.fault
    assert "incomplete" in taught.fault


def test_a_decision_against_the_labels_is_not_taken(toolkit: Toolkit, tmp_path: Path) -> None:
    refusing = ROW.model_copy(update={"expected": (Decision.REFUSE,), "answer": None})
    other = show_earlier(refusing, Random(1), toolkit)
    plan, _, rest = print_reply(other.reply, toolkit).partition(TRACE_OPEN)
    server = Server(*[plan, TRACE_OPEN + rest] * ATTEMPTS)
    taught = ModelTeacher(server.client(), "m", toolkit, "lark").write(task_of(toolkit, tmp_path))
    assert (taught.reply, taught.fault) == (None, "another decision than labelled")


@pytest.mark.parametrize("status", [401, 404, 500, 503])
def test_a_server_that_fails_stops_the_work(status: int, toolkit: Toolkit, tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="m does not answer"):
        ModelTeacher(Server(status).client(), "m", toolkit, "lark").write(task_of(toolkit, tmp_path))


class Fixed:
    """A judge that always says the same."""

    def __init__(self, scores: Scores | None) -> None:
        self.scores, self.judged = scores, list[Judged]()

    def score(self, judged: Sequence[Judged]) -> list[Scores | None]:
        self.judged += judged
        return [self.scores for _ in judged]


GOOD = Scores(task_success=9, safety=9, helpfulness=8, tool_quality=7)


@pytest.mark.parametrize(
    ("scores", "fault"),
    [
        (GOOD, None),
        (GOOD.model_copy(update={"safety": 6}), "low scores: safety"),
        (GOOD.model_copy(update={"safety": 1, "tool_quality": 1}), "low scores: safety, tool_quality"),
        (None, "the judge gave no scores"),
    ],
)
def test_a_reply_stays_that_scores_high_in_all_respects(
    scores: Scores | None, fault: str | None, toolkit: Toolkit, tmp_path: Path
) -> None:
    judge = Fixed(scores)
    assert Filter(judge, "j", 7).fault(task_of(toolkit, tmp_path, with_picture=True), "a reply") == fault
    (judged,) = judge.judged
    assert judged.image.size == (40, 40)
    assert "bake bread" in judged.request.lower()
