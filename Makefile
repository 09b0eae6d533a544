# SPDX-License-Identifier: Apache-2.0
# `make help` lists what there is. Plain GNU make; the only thing needed beforehand is Python 3.11+.

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
SUITES := server lab collection browser unit types lint
PYTEST = $(BIN)/python -m pytest $(PYTEST_ARGS)

export PYTHON
# ansible, ansible-lint and mypy are found by the tools that call them, also where nobody activated the environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help venv run dev test $(SUITES) bench lock system-packages clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "PYTHON=python3.12 chooses the interpreter of a new .venv; PYTEST_ARGS='-k name -x' is passed to pytest."

$(RUNTIME): requirements.txt pyproject.toml tools/make-venv tools/fetch_ansible_windows.py
	@tools/make-venv runtime
	@touch $@

$(DEV): requirements-dev.txt $(RUNTIME)
	@tools/make-venv dev
	@touch $@

venv: $(RUNTIME) ## create .venv with the pinned runtime dependencies

run: $(RUNTIME) ## start the server in ./.data with this machine enrolled
	@exec $(BIN)/patchherd run $(RUN_ARGS)

dev: $(DEV) ## add what tests and checks need to .venv

test: $(DEV) ## run every suite below and sum up
	@tools/run-suites $(SUITES)

lint: $(DEV) ## ruff, yamllint, shellcheck, ansible-lint
	@tools/lint

types: $(DEV) ## mypy --strict on the server
	$(BIN)/mypy

unit: $(DEV) ## functions alone, repository rules
	$(PYTEST) tests/unit

server: $(DEV) ## the server on SQLite and PostgreSQL
	$(PYTEST) tests/server

collection: $(DEV) ## build, install and use the Ansible collection
	$(PYTEST) tests/collection

lab: $(DEV) ## the whole way on real apt and dnf hosts (root on Linux)
	$(PYTEST) tests/lab

browser: $(DEV) ## the dashboard in headless Chromium
	$(PYTEST) tests/browser

bench: $(DEV) ## speed figures (docs/benchmarks.md)
	$(BIN)/python -m tests.benchmarks $(BENCH_ARGS)

lock: $(DEV) ## resolve pyproject.toml into requirements*.txt (LOCK_ARGS=--upgrade for newer versions)
	@tools/lock $(LOCK_ARGS)

system-packages: ## apt-get install what the tests use (root on Debian or Ubuntu)
	@tools/install-system-packages tests/apt-packages.txt tests/lab/apt-packages.txt

clean: ## remove .venv, tool caches and build results; .data and .cache (downloads) stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .ansible build dist server/*.egg-info
	find server tests tools plugins -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
