# Two commands for newcomers: `make serve` and `make test`. Both create .venv on first use.
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin

.PHONY: serve test check format clean bench-constraint

serve: .venv/serve
	$(BIN)/safer serve --port $(PORT)

test: .venv/dev
	$(BIN)/pytest

check: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench-constraint: .venv/bench
	$(BIN)/python benchmarks/constraint.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache

.venv/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	touch $@

.venv/serve: .venv/pip pyproject.toml
	$(BIN)/pip install --quiet --editable '.[serve]'
	touch $@

.venv/bench: .venv/pip pyproject.toml
	$(BIN)/pip install --quiet --editable '.[bench]'
	touch $@

.venv/dev: .venv/pip pyproject.toml
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@
