# make quickstart | test | lint | bench
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# On a machine without a GPU a wheel of CPU torch spares the CUDA gigabytes; `make TORCH=` leaves the choice to pip.
TORCH ?= $(if $(shell command -v nvidia-smi 2>/dev/null),,torch==2.13.0)

.PHONY: quickstart test lint bench bench-env env clean

env: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH),$(BIN)/pip install -q $(TORCH))
	$(BIN)/pip install -q -e ".[dev]"
	@touch $@

test: env
	$(BIN)/python -m pytest

lint: env
	$(BIN)/ruff check .
