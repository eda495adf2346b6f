"""Imports run one way, and the protocol needs pydantic and the standard library alone."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PURE = {"pydantic", "safer_protocol", *sys.stdlib_module_names}
FOREIGN = {
    "safer_protocol": {"safer_server", "safer_training"},
    "safer_server": {"safer_training"},
    "safer_training": {"safer_server"},
}


def sources(package: str) -> list[Path]:
    return sorted(ROOT.glob(f"*/{package}/**/*.py"))


def imported(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                found |= {name.name for name in names}
            case ast.ImportFrom(module=str(module), names=names):
                found |= {module, *(f"{module}.{name.name}" for name in names)}
    return found


@pytest.mark.parametrize("package", FOREIGN)
def test_imports_run_one_way(package: str) -> None:
    assert sources(package)
    for path in sources(package):
        assert not {name.partition(".")[0] for name in imported(path)} & FOREIGN[package], path


def test_the_protocol_is_pure() -> None:
    pure = [path for path in sources("safer_protocol") if "constrain" not in path.parts]
    assert pure
    for path in pure:
        assert {name.partition(".")[0] for name in imported(path)} <= PURE, path
        assert not any(name.startswith("safer_protocol.constrain") for name in imported(path)), path


def test_only_the_tracing_package_needs_opentelemetry() -> None:
    users = {path.parent.name for path in sources("safer_server") if "opentelemetry" in "".join(imported(path))}
    assert users == {"tracing"}


def test_no_module_has_a_name_that_says_nothing() -> None:
    names = {path.stem for package in FOREIGN for path in sources(package)}
    assert not names & {"utils", "util", "helpers", "common", "misc"}
