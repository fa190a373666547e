# Everything a user or a developer types. `make` alone lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-all check check-native format bench bench-gpu clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: $(VENV)/installed  ## train the demo ablation on the built-in images and print its report
	$(BIN)/sasa sweep demo
	$(BIN)/sasa report results/demo
	@echo "Open results/demo/report/report.html in a browser."

test: $(VENV)/installed-dev  ## run the tests but the slow ones
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -m "not slow"

test-all: $(VENV)/installed-dev  ## run all tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

check: $(VENV)/installed-dev  ## what CI runs: ruff, types, all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) test-all

check-native: $(VENV)/installed-dev  ## run the CPU kernel under the address, undefined behaviour and thread sanitizers
	SASA_NATIVE=1 $(BIN)/pytest -q tests/attention/backends/cpu

format: $(VENV)/installed-dev  ## format the code and sort its imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/installed  ## time attention against the convolution that it replaces, on this machine
	$(BIN)/sasa bench

bench-gpu: $(VENV)/installed  ## check and time attention on a CUDA device, next to convolution
	$(BIN)/sasa bench --device cuda --check --dtype bfloat16 --dtype float32 --graph

clean:  ## remove what the targets made, but no results
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/installed

$(VENV)/installed-ci: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[ci]'
	touch $@ $(VENV)/installed-dev $(VENV)/installed
