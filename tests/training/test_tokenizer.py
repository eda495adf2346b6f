"""The tokenizer: bytes are safe, lines do not share tokens, the protocol costs few of them, layouts agree."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.prompt import ImagePart, Turn, encode_prompt
from safer_protocol.toolkit import Toolkit
from safer_training.rows import Row
from safer_training.tokenizer import SPECIAL, train_tokenizer


def test_the_mask_machine_accepts_the_vocabulary(tokenizer: Any) -> None:
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    tokens = [text for text in vocabulary.tokens if text]
    assert len(tokens) == 4096 - len(SPECIAL)
    assert not [text for text in tokens if b"\n" in text and not text.endswith(b"\n")]
    assert {bytes([byte]) for byte in range(256)} <= set(tokens)


@settings(max_examples=200)
@given(text=st.text(max_size=200))
def test_any_text_survives(tokenizer: Any, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_what_users_type_is_never_a_special_token(tokenizer: Any) -> None:
    first = len(tokenizer) - len(SPECIAL)
    for text in SPECIAL:
        assert max(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)) < first


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("[SAFETY-GATE]\n", 4),
        ("</thinking>\n<answer>\n", 6),
        ("<plan>\ncategory=none; risk=none; persona=assistant; topology=linear; depth=standard\n", 20),
        ("; verdict=safe_complete\n", 5),
    ],
)
def test_literals_of_the_protocol_are_few_tokens(tokenizer: Any, text: str, most: int) -> None:
    assert len(tokenizer.encode(text, add_special_tokens=False)) <= most


def test_the_chat_template_is_the_layout_of_the_protocol(tokenizer: Any) -> None:
    turns = (
        Turn("system", ("Be brief.",)),
        Turn("user", (ImagePart(None), "What is it?")),
        Turn("assistant", ("A cat.",)),
    )
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": "A cat."},
    ]
    templated = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert tokenizer.encode(templated, add_special_tokens=False) == encode_prompt(tokenizer, turns, [1])


def test_the_same_texts_give_the_same_tokenizer(rows: list[Row], toolkit: Toolkit) -> None:
    texts = [row.text for row in rows[:500]]
    first, second = (train_tokenizer(texts, toolkit, 700) for _ in range(2))
    assert first.get_vocab() == second.get_vocab()
