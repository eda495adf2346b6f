"""Keys: how they are made, found and read, and faults in a keys file that are named without repeating it."""

import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from api_keys import entry, key_of, keys
from safer_server.cli import app
from safer_server.document import DocumentError
from safer_server.keys import KeyEntry, Keys, digest_of, keys_of, new_key
from safer_server.settings import Settings

HASH = digest_of("secret")
ENTRY = f"{{name: a, sha256: {HASH}, scopes: [chat]}}"
SECRET = "sk-safer-put-into-the-wrong-place"


def entries(*names: str) -> list[KeyEntry]:
    return [KeyEntry.model_validate(entry(name)) for name in names]


def test_keys_are_long_and_never_the_same() -> None:
    made = {new_key() for _ in range(100)}
    assert len(made) == 100
    assert all(key.startswith("sk-safer-") and len(key) == len("sk-safer-") + 43 for key in made)


def test_a_key_is_found_by_its_hash_alone() -> None:
    known = Keys(entries("alice", "bob"))
    assert [found.name for name in ("alice", "bob") if (found := known.find(key_of(name)))] == ["alice", "bob"]
    near = (key_of("alice")[:-1], key_of("alice") + " ", key_of("alice").upper(), digest_of(key_of("alice")), "")
    assert not any(map(known.find, near))
    assert key_of("alice") not in repr(known) + repr(known.find(key_of("alice")))


def test_every_entry_is_compared_whichever_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    compare = hmac.compare_digest

    def watch(known: str, given: str) -> bool:
        compared.append(known)
        return compare(known, given)

    monkeypatch.setattr("safer_server.keys.hmac.compare_digest", watch)
    known = entries("alice", "bob", "carol")
    for key in (*(key_of(each.name) for each in known), "unknown"):
        compared.clear()
        Keys(known).find(key)
        assert compared == [each.sha256 for each in known]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("- name: [", ":1: "),
        ("name: a\n", ":1: Input should be a valid tuple"),
        ("[]\n", ":1: there is no key in it"),
        ("", ":1: Input should be a valid tuple"),
        (f"- name: a\n  sha256: {HASH}\n", ":1: 0.scopes: Field required"),
        (f"- name: a\n  sha256: {HASH}\n  scopes: []\n", ":3: 0.scopes: Tuple should have at least 1 item"),
        (f"- name: a\n  sha256: {HASH}\n  scopes: [chat, root]\n", ":3: 0.scopes.1: Input should be 'chat', 'audit'"),
        (f"- name: a b\n  sha256: {HASH}\n  scopes: [chat]\n", ":1: 0.name: String should match"),
        (f"- name: a\n  sha256: {SECRET}\n  scopes: [chat]\n", ":2: 0.sha256: String should match"),
        (f"- name: a\n  sha256: {HASH.upper()}\n  scopes: [chat]\n", ":2: 0.sha256: String should match"),
        (f"- name: a\n  sha256: {HASH}\n  scopes: [chat]\n  rate: 0/minute\n", ":4: 0.rate: Not a rate"),
        (f"- name: a\n  sha256: {HASH}\n  scopes: [chat]\n  rate: 9/fortnight\n", ":4: 0.rate: Not a rate"),
        (f"- name: a\n  sha256: {HASH}\n  scopes: [chat]\n  rate: 9/second;90/minute\n", ":4: 0.rate: Not a rate"),
        (f"- name: a\n  sha256: {HASH}\n  scopes: [chat]\n  rate: 9\n", ":4: 0.rate: Input should be a valid string"),
        (f"- name: a\n  sha256: {HASH}\n  scopes: [chat]\n  concurrency: 0\n", ":4: 0.concurrency: Input should be greater"),
        (f"- {SECRET}\n", ":1: 0: Input should be a valid dictionary"),
        (f"{SECRET},{SECRET}\n", ":1: Input should be a valid tuple"),
        (f"- name: a\n  sha256: {HASH}\n  scopes: [chat]\n  {SECRET}: x\n", ":1: 0: Extra inputs are not permitted"),
        (f"- {ENTRY}\n- {{name: a, sha256: {HASH}, scopes: [chat]}}\n", ":2: 1.name: another"),
        (f"- {ENTRY}\n- {{name: b, sha256: {HASH}, scopes: [chat]}}\n", ":2: 1.sha256: another"),
    ],
)  # fmt: skip
def test_a_fault_is_named_and_nothing_is_repeated(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(content)
    for settings, where in ((Settings(keys_file=path), str(path)), (Settings(keys=content), "SAFER_KEYS")):  # type: ignore[arg-type]
        with pytest.raises(DocumentError) as caught:
            keys_of(settings)
        assert str(caught.value).startswith(where + said)
        assert SECRET not in str(caught.value)
        assert SECRET not in repr(settings)


def test_where_keys_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert keys_of(Settings()).is_open
    monkeypatch.setenv("SAFER_KEYS", keys(entry("alice")))
    assert keys_of(Settings()).find(key_of("alice")) is not None
    with pytest.raises(DocumentError, match="only one"):
        keys_of(Settings(keys_file=tmp_path / "keys.yaml"))
    monkeypatch.delenv("SAFER_KEYS")
    with pytest.raises(DocumentError, match="No such file"):
        keys_of(Settings(keys_file=tmp_path / "keys.yaml"))


def test_the_command_line_makes_an_entry_and_shows_the_key_once(tmp_path: Path) -> None:
    runner, path = CliRunner(), tmp_path / "keys.yaml"
    options = ["--scope", "chat", "--scope", "metrics", "--rate", "600/minute", "--concurrency", "8"]
    made = [runner.invoke(app, ["keys", "new", "alice", *options]), runner.invoke(app, ["keys", "new", "bob"])]
    path.write_text("".join(each.stdout for each in made))  # as >> does
    known = keys_of(Settings(keys_file=path))
    for each, scopes in zip(made, (("chat", "metrics"), ("chat",)), strict=True):
        found = known.find(each.stderr.strip())
        assert found is not None
        assert found.scopes == scopes
        assert each.stderr.strip() not in path.read_text()
    assert yaml.safe_load(path.read_text())[0]["rate"] == "600/minute"


@pytest.mark.parametrize(
    "wrong", [["a b"], ["a", "--scope", "root"], ["a", "--rate", "often"], ["a", "--concurrency", "0"]]
)
def test_the_command_line_refuses_what_the_server_would(wrong: list[str]) -> None:
    result = CliRunner().invoke(app, ["keys", "new", *wrong])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "sk-safer" not in result.stderr


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"SAFER_KEYS": SECRET}, "SAFER_KEYS:1: Input should be"),
        ({"SAFER_LIMITS_URL": "postgres://secret@host"}, "SAFER_LIMITS_URL (--limits-url): Neither memory://"),
    ],
)
def test_serve_does_not_start_with_a_fault(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, ["serve", "--engine", "scripted", "--port", "0"])
    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert "secret" not in result.output
    assert SECRET not in result.output


@pytest.mark.parametrize(
    ("host", "known", "warned"),
    [("0.0.0.0", False, True), ("guard.internal", False, True), ("::1", False, False), ("localhost", False, False),
     ("127.0.0.2", False, False), ("0.0.0.0", True, False)],
)  # fmt: skip
def test_an_open_server_that_others_can_reach_says_so(
    in_process: Callable[..., Any], server_log: pytest.LogCaptureFixture, host: str, known: bool, warned: bool
) -> None:
    in_process(host=host, keys=keys(entry("alice")) if known else None)
    assert ("no keys are set" in server_log.text) is warned
