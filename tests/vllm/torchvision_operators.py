"""Defines what torchvision's CUDA build expects of its library, when torchvision is first imported: it cannot load that library
beside a CPU build of torch, and does not import without these two operators.

`make .venv-vllm` copies this file into the environment's site-packages, beside a `.pth` file that installs it in every
interpreter, vLLM's workers included.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

OPERATORS = ("nms", "qnms")

_defined: list[Any] = []
"""Kept, for what a library defines goes with it."""


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        import torch

        library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in OPERATORS:
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _defined.append(library)
        super().exec_module(module)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        found = PathFinder.find_spec(name, path, target) if name == "torchvision" else None
        if found is not None and found.origin is not None:
            found.loader = _Loader(name, found.origin)
        return found


def install() -> None:
    """Be asked before the finders that know nothing of this."""
    sys.meta_path.insert(0, _Finder())
