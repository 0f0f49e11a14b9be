# Every target sets up what it needs: a virtual environment with the hash-pinned packages of requirements.lock.
SHELL := /bin/sh
VENV ?= .venv
# A pythonX.Y counts only if it runs and is new enough (a version manager's shim may exist without its Python).
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	if $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then echo $$p; break; fi; done)
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= 2

.PHONY: help demo test check promises conformance bench lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "Innsyn needs Python 3.11, 3.12 or 3.13 on the PATH; none was found."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) has no ensurepip: on Debian and Ubuntu, apt install $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version) (a minute the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## five hospitals, a node with the pilot's policy, and who sees what (KEEP=1 leaves it running)
	@$(BIN)/python -m simulators.demo $(if $(KEEP),--keep)

test: $(READY) ## all tests and journeys, on SQLite and on a real PostgreSQL
	@$(BIN)/python -m pytest -n $(JOBS) tests

check: $(READY) ## format, lint, types, layers, house rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/test_house_rules.py

promises: $(READY) ## the smoke size of every promise that is measured (docs/promises.md)
	@$(BIN)/python -m bench smoke

bench: $(READY) ## the full size of every promise
	@$(BIN)/python -m bench full

KIT ?= ../shared/conformance/nist
conformance: $(READY) ## NIST XDS Toolkit tests against a node with docs/examples/conformance (KIT=DIR, ONLY=GLOB)
	@$(BIN)/python -m tests.conformance --kit "$(KIT)" $(if $(ONLY),--only "$(ONLY)")

lock: ## renew requirements.lock from setup.cfg (needs uv)
	uv pip compile --universal --generate-hashes --no-header --python-version 3.11 --extra check setup.cfg -o requirements.lock

clean: ## remove what the targets made
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
