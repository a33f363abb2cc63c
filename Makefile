# make demo   the whole way, from a dataset to a served model; the server stays up (DEMO_ARGS="--once" ends it)
# make test   lint, types, import rules, all tests
PYTHON ?= $(shell sh requirements/preflight --python)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
# The locks are whole, so nothing is resolved on the day: pip only fetches and checks hashes, then that nothing is missing.
LOCKED := $(PIP) --no-deps --require-hashes -r
CHECK := $(BIN)/python -m pip --disable-pip-version-check check --quiet

.PHONY: setup demo test test-full bench lint clean help

help:
	@sed -n '1,2s/^# //p' Makefile

setup: .venv/core

.venv/core: requirements/core.lock pyproject.toml requirements/preflight
	@sh requirements/preflight
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the locked environment into .venv ..."
	@$(LOCKED) requirements/core.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(CHECK)
	@touch $@

.venv/dev: requirements/dev.lock .venv/core
	@echo "Installing what the tests need ..."
	@$(LOCKED) requirements/dev.lock
	@$(CHECK)
	@touch $@

demo: setup
	@$(BIN)/casemate demo $(DEMO_ARGS)

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -n 2 -m "not slow" $(TEST_ARGS)

test-full: lint
	$(BIN)/pytest -n 2 $(TEST_ARGS)

bench: .venv/dev
	$(BIN)/python bench/run.py $(BENCH_ARGS)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis
