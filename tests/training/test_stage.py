"""The order of rows: every epoch has them all, batches hold rows of like length, and it depends on the seed alone."""

from pathlib import Path

from safer_training.data.records import Message, SftRow, TextContent
from safer_training.recipe import read_curriculum
from safer_training.stage import in_order


def row(number: int) -> SftRow:
    content = (TextContent(text="word " * (number * 7 % 101)),)
    return SftRow(
        uid=str(number),
        group=str(number),
        source="own",
        licence="Apache-2.0",
        teacher="template",
        protocol_hash="0" * 64,
        prompt=(Message(role="user", content=content),),
        reply="",
    )


def test_batches_hold_rows_of_like_length() -> None:
    stage = read_curriculum(Path("tiny-ci")).sft
    assert stage is not None
    rows = [row(number) for number in range(83)]
    order = in_order(rows, stage)
    assert len(order) == stage.epochs * len(rows)
    for epoch in range(int(stage.epochs)):
        assert sorted(order[epoch * 83 : (epoch + 1) * 83]) == list(range(83))
    lengths = [len(rows[number].model_dump_json()) for number in order[:80]]
    spans = [max(lengths[at : at + 8]) - min(lengths[at : at + 8]) for at in range(0, 80, 8)]
    assert max(spans) < (max(lengths) - min(lengths)) / 4
    assert order[:83] != order[83:166]
    assert order == in_order(rows, stage)
    assert order != in_order(rows, stage.model_copy(update={"seed": 5}))
