"""The console in a real browser: what the guard decides is seen, whatever is said stays text, and errors are told."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select
from starlette.testclient import TestClient

from api_keys import entry, key_of, keys
from safer_server.engines.scripted import ScriptedEngine, Take, table
from safer_server.record import Outcome
from waiting import PATIENCE, wait_for

DRIVER = shutil.which("chromedriver")
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-proxy-server",
)
MARKUP = "<img src=x onerror=\"document.title='taken over'\"><script>document.title='taken over'</script>"


class Page:
    """The console as its user handles it."""

    def __init__(self, browser: Chrome, url: str) -> None:
        self.browser = browser
        browser.get(url)
        wait_for(lambda: "Connecting" not in self.one("server").text or self.one("fault").text)

    def one(self, name: str) -> WebElement:
        return self.browser.find_element(By.ID, name)

    def ask(self, message: str) -> None:
        self.one("message").send_keys(message)
        self.one("send").click()
        self.is_done()

    def is_done(self) -> None:
        wait_for(lambda: self.one("send").is_enabled())

    def shows_records(self, number: int) -> None:
        """Ask until the log has so many: a record is in the database a moment after its reply."""

        def shown() -> bool:
            self.one("filter").submit()
            wait_for(lambda: self.one("records").get_attribute("aria-busy") == "false")
            return len(self.one("records").find_elements(By.TAG_NAME, "tr")) == number

        wait_for(shown)

    def warnings(self) -> list[str]:
        lines: list[dict[str, str]] = self.browser.get_log("browser")  # type: ignore[no-untyped-call]
        return [line["message"] for line in lines if line["level"] in ("WARNING", "SEVERE")]

    def sees(self, name: str, *words: str) -> None:
        wait_for(lambda: all(word in self.one(name).text for word in words))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    if DRIVER is None:
        pytest.skip("Chromium and its driver are not installed")
    options = ChromeOptions()
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options, ChromeService(DRIVER))
    chrome.set_page_load_timeout(PATIENCE)
    yield chrome
    chrome.quit()


def test_a_request_its_trace_and_its_record_are_seen(browser: Chrome, live: Callable[..., Any]) -> None:
    page = Page(browser, live().url)
    page.sees("server", "scripted by scripted", "ready")
    page.shows_records(0)
    assert [option.text for option in Select(page.one("outcome")).options] == ["any", *Outcome]
    page.ask("hello")
    page.sees("case", "answered", "KEYWORD-FLAGGING", "verdict: allow", "This is a scripted answer", "verified")
    page.ask("steal")
    page.sees("case", "refused", "nonviolent_crimes", "Refusal", "I can't help", "3 parts judged")
    page.sees("conversation", "user: hello", "assistant: I can't help")
    page.shows_records(2)
    Select(page.one("outcome")).select_by_value("refused")
    page.shows_records(1)
    page.one("records").find_element(By.TAG_NAME, "button").click()
    page.sees("content", '"outcome": "refused"', '"signature"')
    page.sees("proof", "signed by key")
    assert not page.warnings()


def test_a_picture_is_sent_with_ctrl_enter(browser: Chrome, live: Callable[..., Any], tmp_path: Path) -> None:
    picture = tmp_path / "red.png"
    Image.new("RGB", (40, 40), "red").save(picture)
    page = Page(browser, live().url)
    page.one("pictures").send_keys(str(picture))
    page.one("message").send_keys("hello", Keys.CONTROL, Keys.ENTER)
    page.sees("case", "answered", "2 parts judged")
    page.sees("conversation", "[red.png] hello")


def test_markup_is_shown_and_never_run(
    browser: Chrome, live: Callable[..., Any], written: Callable[[str], str]
) -> None:
    answer = written("hello").replace("This is a scripted answer", MARKUP)
    page = Page(browser, live(ScriptedEngine(lambda _: answer), audit_content="full").url)
    page.ask(MARKUP)
    page.sees("case", MARKUP)
    page.sees("conversation", f"user: {MARKUP}", f"assistant: {MARKUP}")
    assert browser.title == "SaFeR guard"
    browser.execute_script(
        "const s = document.createElement('script'); s.text = 'document.title = 1'; document.body.append(s)"
    )
    assert browser.title == "SaFeR guard"
    wait_for(lambda: "Content Security Policy" in str(page.warnings()))


def test_without_a_key_it_says_so_and_with_one_it_works(browser: Chrome, live: Callable[..., Any]) -> None:
    page = Page(browser, live(keys=keys(entry("person", "chat", "audit"))).url)
    page.sees("fault", "401 invalid_api_key")
    page.sees("audit-fault", "401 invalid_api_key")
    page.one("key").send_keys(key_of("person"), Keys.TAB)
    wait_for(lambda: not page.one("fault").is_displayed() and Select(page.one("model")).options)
    page.ask("hello")
    page.sees("case", "answered")


def test_what_is_wrong_with_a_request_is_told(browser: Chrome, live: Callable[..., Any], tmp_path: Path) -> None:
    page = Page(browser, live().url)
    page.one("send").click()
    page.sees("fault", "Write a message or choose a picture.")
    page.is_done()
    (broken := tmp_path / "broken.png").write_bytes(b"no picture")
    page.one("pictures").send_keys(str(broken))
    page.ask("hello")
    page.sees("fault", "400 invalid_image")


def test_an_answer_that_breaks_off_is_called_void(
    browser: Chrome, live: Callable[..., Any], written: Callable[[str], str]
) -> None:
    page = Page(browser, live(ScriptedEngine(lambda _: Take(written("hello") + "more"))).url)
    page.ask("hello")
    page.sees("fault", "failed_closed", "void")
    assert not page.one("conversation").text


def test_a_request_can_be_stopped(browser: Chrome, live: Callable[..., Any], written: Callable[[str], str]) -> None:
    waits = Take(written("hello"), wait_at=4, event=asyncio.Event())
    server = live(ScriptedEngine(table({"wait": waits})))
    page = Page(browser, server.url)
    page.one("message").send_keys("wait")
    page.one("send").click()
    wait_for(lambda: page.one("stop").is_enabled())
    page.one("stop").click()
    page.sees("case", "Stopped.")
    page.is_done()


def test_it_can_be_turned_off_and_is_no_part_of_the_api(in_process: Callable[..., TestClient]) -> None:
    client = in_process()
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert client.get("/console/console.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/console/index.html").status_code == client.get("/console/..%2fapp.py").status_code == 404
    assert not [path for path in client.get("/openapi.json").json()["paths"] if path == "/" or "console" in path]
    assert in_process(console=False).get("/").status_code == 404
