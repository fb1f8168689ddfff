# kilonet: `make study` and `make test` do all the set-up they need, in this folder alone.
# PYTHON picks another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# What a build depends on: when one of these changes, the package is installed anew.
SOURCES := pyproject.toml constraints.txt README.md $(shell find src native -type f -not -path '*/__pycache__/*')

.PHONY: install install-dev study test test-all sanitize lint bench clean

install: $(VENV)/installed            ## the package as a user has it
install-dev: $(VENV)/installed-dev    ## and what tests and benchmarks need

study: install                        ## the bundled ladder on real MNIST: tables, training, report
	$(BIN)/kilonet study

test: install-dev                     ## the tests, slow ones left out
	$(BIN)/python -m pytest

test-all: install-dev                 ## every test
	$(BIN)/python -m pytest -m "slow or not slow"

lint: install-dev                     ## style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

sanitize: install-dev                 ## the native engine under AddressSanitizer, UBSan and ThreadSanitizer
	$(BIN)/python scripts/sanitize.py

bench: install-dev                    ## an epoch here beside the notebook's own way
	$(BIN)/python benchmarks/notebook_epoch.py

clean:                                ## all that the targets above made, results of studies kept
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# PyTorch's engine is what `auto` takes so far, so the main job needs it.
$(VENV)/installed: $(SOURCES) | $(BIN)/python
	@echo "Installing kilonet and what it needs into $(VENV)"
	$(PIP) install --constraint constraints.txt '.[torch]'
	@touch $@

$(VENV)/installed-dev: $(SOURCES) | $(BIN)/python
	@echo "Installing kilonet and what its tests need into $(VENV)"
	$(PIP) install --constraint constraints.txt '.[torch,dev]'
	@touch $@ $(VENV)/installed
