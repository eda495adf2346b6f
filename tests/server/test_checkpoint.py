"""Which checkpoints are served."""

import json
from pathlib import Path

import pytest

from safer_protocol.toolkit import default_toolkit
from safer_server.checkpoint import CheckpointError, check_protocol
from safer_server.engines.table import open_engine
from safer_server.policies import load_policies
from safer_server.settings import Settings
from safer_training.tokenizer import train_tokenizer

TOOLKIT = default_toolkit()


def checkpoint(folder: Path, card: str | None) -> Path:
    (folder / "config.json").write_text("{}")
    if card is not None:
        (folder / "safer.json").write_text(card)
    return folder


def test_a_checkpoint_of_this_protocol_is_served(tmp_path: Path) -> None:
    check_protocol(checkpoint(tmp_path, json.dumps({"protocol_hash": TOOLKIT.hash})), TOOLKIT)


@pytest.mark.parametrize(
    "card", [None, "", "[]", "{}", '{"protocol_hash": null}', json.dumps({"protocol_hash": "0" * 64})]
)
def test_any_other_is_refused_and_says_how_to_insist(tmp_path: Path, card: str | None) -> None:
    folder = checkpoint(tmp_path, card)
    with pytest.raises(CheckpointError, match="--allow-protocol-mismatch"):
        check_protocol(folder, TOOLKIT)
    with pytest.raises(CheckpointError):
        open_engine(Settings(model=folder), load_policies((), TOOLKIT))


def test_a_tokenizer_on_which_the_grammar_is_not_exact_is_refused_by_name(tmp_path: Path) -> None:
    """Without Qwen's way of cutting text into words, a token may go on after a newline."""
    folder = tmp_path / "joined"
    train_tokenizer(["text"], TOOLKIT).save_pretrained(folder)
    checkpoint(folder, json.dumps({"protocol_hash": TOOLKIT.hash}))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["Ċx"] = tokenizer["model"]["vocab"].pop("Ġtext")
    tokenizer["model"]["merges"] = []
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(CheckpointError, match=r"joined cannot be constrained: token b'\\nx' goes on after a newline"):
        open_engine(Settings(model=folder), load_policies((), TOOLKIT))


def test_a_directory_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json"):
        check_protocol(tmp_path, TOOLKIT)
