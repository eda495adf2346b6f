"""What a fuzzer begins with: a folder of examples, and a dictionary of words that it may put in."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def arguments(examples: Iterable[bytes], words: Iterable[bytes]) -> Iterator[list[str]]:
    """Give libFuzzer's arguments: those of the command line, the dictionary, and the folders that it reads examples from.

    Folders on the command line go first, for it writes what it finds into the first one.
    """
    with TemporaryDirectory(prefix="safer-fuzz-") as name:
        folder = Path(name)
        begin, found, dictionary = folder / "seeds", folder / "found", folder / "words.dict"
        begin.mkdir()
        found.mkdir()
        for number, example in enumerate(examples):
            (begin / f"{number:03}").write_bytes(example)
        dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in words))
        folders = [] if any(not argument.startswith("-") for argument in sys.argv[1:]) else [str(found)]
        # Replies and pictures are long before they are anything at all, so the length of inputs does not begin small.
        yield [*sys.argv, f"-dict={dictionary}", "-len_control=0", *folders, str(begin)]


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)
