# make demo: install senet in .venv and run the main job on the embedded images, in three minutes.
# make test: the same environment with the test extra, then lint, types and tests.
# make quick: the unit tests alone, in less than five minutes on two cores.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PYTEST_OPTIONS ?=

.PHONY: demo test quick lint types clean

demo: .venv/installed
	$(BIN)/senet compare --epochs 6

test: .venv/installed-test lint types
	$(BIN)/python -m pytest --numprocesses auto $(PYTEST_OPTIONS)

quick: .venv/installed-test
	$(BIN)/python -m pytest --numprocesses auto -m 'not slow' $(PYTEST_OPTIONS)

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed-test
	$(BIN)/mypy

# torch first and by its exact version, so that nothing else decides which build is fetched.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "senet needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	@echo "Installing torch and the other packages, a few minutes the first time"
	$(PIP) $$(grep '^torch==' constraints.txt)
	$(PIP) --editable .
	touch $@

.venv/installed-test: .venv/installed
	@echo "Installing the packages the tests need"
	$(PIP) --editable '.[test]'
	touch $@

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache
