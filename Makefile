# Penstock: `make run` starts everything, `make test` proves it. Both need Linux (x86-64 or arm64), make, and Python
# 3.11–3.13 with venv; everything else is installed into .venv from the lock files, which pin every hash.
# Paths are relative and quoted: the checkout may lie anywhere, also in a folder with a space in its name.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

UV_VERSION := 0.13.8
PYTHON := .venv/bin/python
PIP := $(PYTHON) -m pip --disable-pip-version-check --no-input
# A virtual environment does not survive being moved, so the stamps carry the place they were made in.
PLACE := $(shell pwd | cksum | cut -d' ' -f1)
RUN_STAMP := .venv/installed-$(PLACE)
DEV_STAMP := .venv/installed-dev-$(PLACE)
COMPILE := $(PYTHON) -m uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --no-header --quiet

.PHONY: help run test test-long lint bench bench-ratios lock clean python

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

run: $(RUN_STAMP)  ## Install, then start Penstock with everything in ./data (options: make run ARGS="--port 4000")
	@exec $(PYTHON) -m server.cli run $(ARGS)

test: lint  ## Lint, check types, run the tests against a real Postgres (PENSTOCK_TEST_DATABASE_URL, else the embedded one)
	$(PYTHON) -m pytest -m "not long" $(ARGS)

test-long: $(DEV_STAMP)  ## The long runs: new examples for the properties, soak, random kills, real SDKs (installs them once outside the checkout; says what it skips)
	$(PYTHON) -m pytest tests/property -m "not long" --hypothesis-profile random
	$(PYTHON) -m pytest -m long -rs $(ARGS)

lint: $(DEV_STAMP)  ## Check style, formatting and types
	$(PYTHON) -m ruff check --quiet --output-format concise .
	$(PYTHON) -m ruff format --check --quiet . || { echo "run: .venv/bin/ruff format ." >&2; exit 1; }
	$(PYTHON) -m mypy --strict -p server -p storage

bench: $(DEV_STAMP)  ## Benchmarks, as ratios taken in one run
	$(PYTHON) -m pytest bench -o python_files='bench_*.py' --benchmark-only --benchmark-disable-gc -m "" $(ARGS)

bench-ratios: $(DEV_STAMP)  ## The promised speeds as ratios, taken in one run (options: ARGS="--rounds 3")
	$(PYTHON) -m bench.ratios $(ARGS)

lock: $(DEV_STAMP)  ## Resolve the dependencies again and write the lock files (newest versions: ARGS=--upgrade)
	$(PIP) install --quiet uv==$(UV_VERSION)
	$(COMPILE) --extra build $(ARGS) -o requirements.lock
	$(COMPILE) --extra build --extra dev -c requirements.lock $(ARGS) -o requirements-dev.lock

clean:  ## Remove the virtual environment and caches; ./data stays
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN_STAMP): requirements.lock pyproject.toml | python
	@echo "Installing Penstock into .venv (about 60 MB, once; a minute or so) …"
	@$(PIP) install --progress-bar on --quiet --require-hashes -r requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(DEV_STAMP): requirements-dev.lock $(RUN_STAMP)
	@echo "Installing what the tests need into .venv (about 90 MB, once) …"
	@$(PIP) install --progress-bar on --quiet --require-hashes -r requirements-dev.lock
	@touch $@

# The virtual environment, made again if its Python has gone or is of another version, or pip is not whole in it: its
# RECORD comes last, so a Ctrl-C while it was made left none.
python:
	@[ "$$(uname -s)" = Linux ] || { echo "error: Penstock runs on Linux; this is $$(uname -s)" >&2; exit 1; }
	@case "$$(uname -m)" in x86_64|aarch64) ;; *) \
	    echo "error: Penstock runs on x86-64 and arm64; this is $$(uname -m)" >&2; exit 1;; esac
	@fits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; \
	if [ -x $(PYTHON) ] && $(PYTHON) -c "import pip; $$fits" 2>/dev/null \
	    && compgen -G '.venv/lib/python3*/site-packages/pip-*.dist-info/RECORD' >/dev/null; then exit 0; fi; \
	if [ ! -w . ]; then \
	    echo "error: $$PWD must be writable: .venv and ./data are made in it; copy it to a folder of yours" >&2; \
	    exit 1; \
	fi; \
	lacking=; \
	for python in python3.13 python3.12 python3.11 python3; do \
	    "$$python" -c "$$fits" 2>/dev/null || continue; \
	    if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	        echo "Making the virtual environment .venv with $$("$$python" --version) …"; \
	        rm -rf .venv; "$$python" -m venv .venv; exit 0; \
	    fi; \
	    lacking="$${lacking:-$$python}"; \
	done; \
	if [ -n "$$lacking" ]; then \
	    version="$$("$$lacking" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"; \
	    echo "error: $$lacking cannot make virtual environments; on Debian and Ubuntu: apt install python$$version-venv" >&2; \
	else \
	    echo "error: Penstock needs Python 3.11, 3.12 or 3.13; on Debian and Ubuntu: apt install python3 python3-venv" >&2; \
	fi; \
	exit 1
