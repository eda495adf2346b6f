"""Compiled blocks, kept on disk: each is compiled once for its pattern and vocabulary, and loaded in milliseconds after that.

A file is named after what it was compiled from and begins with the SHA-256 of its contents; one that does not match is compiled
anew and never trusted. Toolkits that share tools share files.
"""

import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import fields
from pathlib import Path

import numpy as np

from safer_protocol.constrain.index import BlockIndex, compile_block
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.grammar import Block, block_pattern, blocks
from safer_protocol.toolkit import Toolkit

FORMAT = "2"
"""Raised with every change of `BlockIndex` or of how it is compiled."""

Progress = Callable[[int, int], None]


def compile_blocks(
    toolkit: Toolkit, vocabulary: Vocabulary, folder: Path | None = None, progress: Progress | None = None
) -> Mapping[Block, BlockIndex]:
    """Compile every block of a toolkit, or load it from `folder`; `progress` is told (blocks done, blocks in all)."""
    wanted = list(blocks(toolkit))
    vocabulary.for_outlines  # noqa: B018 - made here once, not by each thread
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {pool.submit(_obtain, block, toolkit, vocabulary, folder): block for block in wanted}
        found = {}
        for done, job in enumerate(as_completed(jobs), 1):
            found[jobs[job]] = job.result()
            if progress:
                progress(done, len(wanted))
    return found


def _obtain(block: Block, toolkit: Toolkit, vocabulary: Vocabulary, folder: Path | None) -> BlockIndex:
    if folder is None:
        return compile_block(block, toolkit, vocabulary)
    source = f"{FORMAT}\n{type(block).__name__}\n{block_pattern(block, toolkit)}"
    path = folder / vocabulary.hash[:16] / f"{hashlib.sha256(source.encode()).hexdigest()}.index"
    index = _load(path)
    if index is None:
        index = compile_block(block, toolkit, vocabulary)
        _store(path, index)
    return index


def _load(path: Path) -> BlockIndex | None:
    try:
        stored = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, contents = stored[:32], stored[32:]
    if hashlib.sha256(contents).digest() != digest:
        return None
    with np.load(io.BytesIO(contents), allow_pickle=False) as arrays:
        return BlockIndex(**{field.name: arrays[field.name] for field in fields(BlockIndex)})


def _store(path: Path, index: BlockIndex) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **{field.name: getattr(index, field.name) for field in fields(BlockIndex)})
    contents = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(hashlib.sha256(contents).digest() + contents)
    Path(file.name).replace(path)
