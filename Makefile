# Everything runs in .venv at the root; the two commands of README.md are `make demo` and `make test`.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
TORCH ?= torch==2.13.0
DEMO ?= demo
export OMP_NUM_THREADS ?= 2

.PHONY: help env demo test lint study clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

env: $(VENV)/.ready ## create .venv with everything the demo and the tests need

# torch first and from a CPU wheel, then the rest with that version held: a plain install would take the CUDA build
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	echo "$(TORCH)" > $(VENV)/constraints.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint $(VENV)/constraints.txt --editable ".[train,dicom,dev]"
	touch $@

demo: env ## from nothing to the page: reports, records, two trained arms, agreement (about 10 minutes on 2 cores)
	$(VENV)/bin/rsuper demo --out "$(DEMO)"

test: env ## from nothing to a green suite
	$(PY) -m pytest -n 2 --dist loadfile -m "not gpu and not vllm"

lint: env ## style, types and layering
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

study: env ## the multi-seed study of benchmarks/README.md (hours; resumable)
	$(PY) benchmarks/demo_study.py

clean: ## remove the environment and what the demo wrote
	rm -rf $(VENV) "$(DEMO)"
