"""Compiled blocks, in memory and on disk: each is compiled once for its pattern and vocabulary, then loaded in milliseconds.

A file is named after what it was compiled from. It begins with the SHA-256 of its name, vocabulary and contents: one that was
damaged, or put in the place of another, is compiled anew and never trusted. Toolkits that share tools share blocks and files.
"""

import hashlib
import io
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, fields
from pathlib import Path
from time import perf_counter
from zipfile import BadZipFile

import numpy as np

from safer_protocol.constrain.index import BlockIndex, compile_block
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.grammar import Block, block_pattern, blocks
from safer_protocol.toolkit import Toolkit

FORMAT = "3"
"""Raised with every change of `BlockIndex` or of how it is compiled."""

Progress = Callable[[int, int], None]
"""Is told how many blocks have been compiled, of how many; never, where all of them are found."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Held:
    """The blocks in memory, and what it took to have them."""

    blocks: int
    states: int
    rows: int
    """Distinct sets of allowed tokens, block by block."""
    nbytes: int
    seconds: float
    """From the wish for blocks to having them all."""
    loaded: tuple[float, ...]
    """Seconds for each block that came from disk."""
    compiled: tuple[float, ...]
    """Seconds for each block that was compiled."""

    def __str__(self) -> str:
        return (
            f"{self.blocks} blocks, {self.states} states, {self.rows} rows, {self.nbytes / 2**20:.0f} MB, "
            f"{len(self.loaded)} loaded and {len(self.compiled)} compiled in {self.seconds:.1f} s"
        )


class BlockCache:
    """The compiled blocks of one vocabulary, kept in memory and, where there is a folder, for the next process."""

    def __init__(self, vocabulary: Vocabulary, folder: Path | None = None) -> None:
        """Use `folder` if it can be used: a cache that cannot be read or written only costs time."""
        self._vocabulary = vocabulary
        self._folder = folder and folder / vocabulary.hash[:16]
        self._may_store = folder is not None
        self._indexes: dict[str, BlockIndex] = {}
        self._seconds = 0.0
        self._loaded: list[float] = []
        self._compiled: list[float] = []

    def obtain(self, toolkit: Toolkit, progress: Progress | None = None) -> Mapping[Block, BlockIndex]:
        """Return every block of a toolkit: held already, else loaded, else compiled."""
        start = perf_counter()
        names = {block: _name(block, toolkit) for block in blocks(toolkit)}
        missing = {name: block for block, name in names.items() if name not in self._indexes and not self._load(name)}
        if missing:
            self._compile(missing, toolkit, progress or (lambda done, total: None))
        self._seconds += perf_counter() - start
        return {block: self._indexes[name] for block, name in names.items()}

    @property
    def held(self) -> Held:
        """What is in memory at this moment."""
        indexes = self._indexes.values()
        return Held(
            blocks=len(indexes),
            states=sum(len(index.row_of) for index in indexes),
            rows=sum(len(index.bits) for index in indexes),
            nbytes=sum(index.nbytes for index in indexes),
            seconds=self._seconds,
            loaded=tuple(self._loaded),
            compiled=tuple(self._compiled),
        )

    def _compile(self, missing: Mapping[str, Block], toolkit: Toolkit, progress: Progress) -> None:
        vocabulary = self._vocabulary
        vocabulary.for_outlines  # noqa: B018 - made here once, not by each thread

        def compiled(block: Block) -> tuple[BlockIndex, float]:
            start = perf_counter()
            return compile_block(block, toolkit, vocabulary), perf_counter() - start

        progress(0, len(missing))
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            # Long patterns take longest: begun first, they are not waited for alone.
            longest = sorted(missing.items(), key=lambda item: -len(block_pattern(item[1], toolkit)))
            jobs = {pool.submit(compiled, block): name for name, block in longest}
            for done, job in enumerate(as_completed(jobs), 1):
                self._indexes[jobs[job]], seconds = job.result()
                self._compiled.append(seconds)
                self._store(jobs[job])
                progress(done, len(missing))
        finally:
            pool.shutdown(cancel_futures=True)  # who interrupts the start does not wait for blocks that nobody wants

    def _load(self, name: str) -> bool:
        """Whether a sound file was found."""
        if self._folder is None:
            return False
        start, path = perf_counter(), self._folder / f"{name}.index"
        try:
            stored = path.read_bytes()
        except OSError:
            return False
        if self._digest(name, stored[32:]) != stored[:32]:
            logger.warning("%s is damaged: it is compiled anew", path)
            return False
        try:
            with np.load(io.BytesIO(stored[32:]), allow_pickle=False) as arrays:
                index = BlockIndex(**{field.name: arrays[field.name] for field in fields(BlockIndex)})
        except (EOFError, KeyError, ValueError, BadZipFile):
            return False  # written by a version that should have raised FORMAT
        self._indexes[name] = index
        self._loaded.append(perf_counter() - start)
        return True

    def _store(self, name: str) -> None:
        if self._folder is None or not self._may_store:
            return
        buffer, index = io.BytesIO(), self._indexes[name]
        np.savez(buffer, **{field.name: getattr(index, field.name) for field in fields(BlockIndex)})
        contents = buffer.getvalue()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Whole files only: other processes may be reading and writing the same ones.
            with tempfile.TemporaryDirectory(dir=self._folder) as beside:
                file = Path(beside) / "whole"
                file.write_bytes(self._digest(name, contents) + contents)
                file.replace(self._folder / f"{name}.index")
        except OSError as error:
            logger.warning("compiled blocks cannot be kept, so every start compiles them: %s", error)
            self._may_store = False

    def _digest(self, name: str, contents: bytes) -> bytes:
        return hashlib.sha256(f"{self._vocabulary.hash}{name}".encode() + contents).digest()


def _name(block: Block, toolkit: Toolkit) -> str:
    source = f"{FORMAT}\n{type(block).__name__}\n{block_pattern(block, toolkit)}"
    return hashlib.sha256(source.encode()).hexdigest()


def compile_blocks(
    toolkit: Toolkit, vocabulary: Vocabulary, folder: Path | None = None, progress: Progress | None = None
) -> Mapping[Block, BlockIndex]:
    """Compile every block of a toolkit, or load it from `folder`; `BlockCache` does the same for several toolkits."""
    return BlockCache(vocabulary, folder).obtain(toolkit, progress)
