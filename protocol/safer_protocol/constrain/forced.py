"""Tokens that need no forward pass: where the grammar leaves one text only, it is written as the tokenizer would write it."""

from typing import Any

from safer_protocol.constrain.machine import Cursor


def forced_tokens(cursor: Cursor, tokenizer: Any) -> list[int]:
    """Return the tokens that must come next, in canonical tokenisation, and advance the cursor over them.

    `tokenizer` is a fast Hugging Face tokenizer. Tokens whose shape depends on what follows are left to the model, and so is a
    line that the model has begun in another than the canonical tokenisation.
    """
    forced = cursor.forced_text()
    if len(forced) < 2:
        return []
    line = (cursor.line + forced).decode()
    encoded = tokenizer.backend_tokenizer.encode(line, add_special_tokens=False)
    written = len(cursor.line_tokens)
    if encoded.ids[:written] != cursor.line_tokens:
        return []
    stable = len(encoded.ids)
    if not line.endswith("\n"):
        # What follows may still join the last piece of the pre-tokenizer, but none before it.
        begins = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(line)[-1][1][0]
        stable = sum(start < begins for start, _ in encoded.offsets)
    taken: list[int] = []
    for token in encoded.ids[written:stable]:
        if cursor.hurried:
            break
        cursor.advance(token)
        taken.append(token)
    return taken
