# Everything a fresh machine needs is Python 3.10 or newer. Each goal makes what it needs and does nothing twice.
# Tests run in two processes side by side; make test WORKERS=4 for more, WORKERS=0 for none beside pytest itself.
#
#   make demo     train a small real model and look at what was recorded
#   make check    lint and the fast unit tests, while you work
#   make test     the whole test suite; make test ARGS="tests/unit -x" for a part of it
#   make lint     ruff, mypy, import-linter, and the documentation, all strict
#   make floor    the Lightning tests with the oldest supported Lightning, in an environment of its own
#   make docs     the documentation, served while you write it
#   make tables   rewrite the generated parts of the documentation: commands, settings, options, decisions
#   make clean    remove what these goals made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FLOOR := .venv-floor
TRACKERS := .venv-trackers
ARGS ?=
WORKERS ?= 2
PYTEST := -m pytest --numprocesses $(WORKERS)
TORCH := $(shell grep '^torch==' constraints.txt)
# wandb's own engine for sweeps, to compare ours with. It asks for numpy 1 and runs with 2.
ORACLE := sweeps==0.3.0
# trackio asks for an older pillow than the other packages have, and runs with theirs; the others are what it imports.
TRACKIO := trackio==0.43.0 gradio-client==2.7.2 brotli==1.2.1
INSTALL := -m pip install --quiet --disable-pip-version-check
PINNED := $(INSTALL) --constraint constraints.txt
FLOOR_TESTS := tests/unit/integrations $(wildcard tests/e2e/test_lightning_*.py)

.PHONY: demo check test lint floor docs tables clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	@$(BIN)/tracelet demo
	@echo
	@echo "The command is $(BIN)/tracelet; after '. $(BIN)/activate' it is just tracelet."

check: lint
	$(BIN)/python $(PYTEST) -m 'not slow' tests/unit $(ARGS)

test: $(VENV)/.dev $(TRACKERS)/.ready
	$(BIN)/python $(PYTEST) $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

floor: $(FLOOR)/.ready
	$(FLOOR)/bin/python $(PYTEST) $(FLOOR_TESTS) $(ARGS)

docs: $(VENV)/.dev
	$(BIN)/mkdocs serve

tables: $(VENV)/.dev
	$(BIN)/python docs/hooks.py

clean:
	rm -rf $(VENV) $(FLOOR) $(TRACKERS) site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# One environment, three stages, each remembered by a stamp: torch is big and comes first, so that nothing else picks it.

$(VENV)/.torch: constraints.txt
	$(call new_environment,$(VENV))
	@echo "installing $(TORCH) into $(VENV) ..."
	$(BIN)/python $(INSTALL) '$(TORCH)'
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(BIN)/python $(PINNED) --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	@echo "installing tracelet and what its tests need into $(VENV) ..."
	$(BIN)/python $(PINNED) --editable '.[dev]'
	$(BIN)/python $(INSTALL) --no-deps '$(ORACLE)' $(TRACKIO)
	@touch $@ $(VENV)/.demo

$(FLOOR)/.ready: constraints-floor.txt pyproject.toml
	$(call new_environment,$(FLOOR))
	@echo "installing the oldest supported Lightning into $(FLOOR) ..."
	$(FLOOR)/bin/python $(INSTALL) '$(TORCH)' 'setuptools<81'
	$(FLOOR)/bin/python $(INSTALL) --constraint constraints-floor.txt --editable '.[floor]'
	@touch $@

# Trackers whose runs are imported: their packages ask for other versions than those that the tests run with.
$(TRACKERS)/.ready: constraints-trackers.txt
	$(call new_environment,$(TRACKERS))
	@echo "installing trackers whose files tests import into $(TRACKERS) ..."
	$(TRACKERS)/bin/python $(INSTALL) --requirement constraints-trackers.txt
	@touch $@

define new_environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "tracelet needs Python 3.10 or newer, and $(PYTHON) is not. Name one: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(1)/bin/python || $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make environments: its modules venv and ensurepip are not installed." >&2; \
	  echo "On Debian or Ubuntu: sudo apt-get install python3-venv. Or name another Python: make PYTHON=python3.12" >&2; \
	  exit 1; }
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
endef
