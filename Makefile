# make demo: install senet in .venv and run the main job on the embedded images, in three minutes.
# make test: the same environment with the test extra, then lint, types and tests.
# make quick: the unit tests alone, in less than three minutes on two cores.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
# pip compiles what it installs on one core; this takes all, and a few files are not meant for this Python.
COMPILE := $(BIN)/python -m compileall -qq --workers 0 .venv/lib || true
# Of each file its tests run in one process as far as possible, so that what they share is made once.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal
PYTEST_OPTIONS ?=

.PHONY: demo test unit quick lint types clean

demo: .venv/installed
	$(BIN)/senet compare --epochs 6

test: lint types unit

unit: .venv/installed-test
	$(PYTEST) $(PYTEST_OPTIONS)

quick: .venv/installed-test
	$(PYTEST) -m 'not slow' $(PYTEST_OPTIONS)

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
	$(COMPILE)
	touch $@

.venv/installed-test: .venv/installed
	@echo "Installing the packages the tests need"
	$(PIP) --editable '.[test]'
	$(COMPILE)
	touch $@

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache
