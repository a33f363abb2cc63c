# make demo   the whole way, from a dataset to a served model; the server stays up (DEMO_ARGS="--once" ends it)
# make test   lint, types, import rules, all tests
# make test-postgres   all tests, with every home in PostgreSQL
PYTHON ?= $(shell sh requirements/preflight --python)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
# The locks are whole, so nothing is resolved on the day: pip only fetches and checks hashes, then that nothing is missing.
LOCKED := $(PIP) --no-deps --require-hashes -r
# Three workers on two processors, since tests wait much; tests/conftest.py says what goes to one worker.
PYTEST := $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder
CHECK := $(BIN)/python -m pip --disable-pip-version-check check --quiet

.PHONY: setup demo test test-full test-postgres test-formats test-mlflow test-ray fuzz bench bench-scanners bench-personal bench-screening bench-sizes lint clean help

help:
	@sed -n '1,3s/^# //p' Makefile

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
	$(PYTEST) -m "not slow" $(TEST_ARGS)

test-full: lint
	$(PYTEST) $(TEST_ARGS)

test-postgres: .venv/dev
	CASEMATE_TEST_DATABASE=postgresql $(PYTEST) -m "not slow" $(TEST_ARGS)

# What PyTorch, Keras and TensorFlow write, with the libraries themselves: gigabytes, in an environment of their own.
.venv-formats/done: requirements/dev.lock
	@$(PYTHON) -m venv .venv-formats
	@.venv-formats/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r requirements/dev.lock
	@.venv-formats/bin/python -m pip --disable-pip-version-check install --quiet -c requirements/formats.txt torch tensorflow-cpu
	@.venv-formats/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

test-formats: .venv-formats/done
	.venv-formats/bin/pytest tests/unit/scanning/test_real_frameworks.py tests/contract/test_runtimes.py $(TEST_ARGS)

# Fuzzing by coverage; the library for it is published for Linux on x86-64 and Python up to 3.13.
.venv-fuzz/done: requirements/core.lock requirements/fuzz.txt
	@$(PYTHON) -m venv .venv-fuzz
	@.venv-fuzz/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r requirements/core.lock
	@.venv-fuzz/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r requirements/fuzz.txt
	@.venv-fuzz/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

FUZZ_SECONDS ?= 60
# Every parser of foreign bytes, FUZZ_SECONDS each; FUZZ_TARGETS names some of them.
fuzz: .venv-fuzz/done
	.venv-fuzz/bin/python fuzz/run.py --seconds $(FUZZ_SECONDS) $(FUZZ_TARGETS)

# An environment of its own for a lane whose lock is whole: .venv-NAME/done of requirements/NAME.lock.
define OWN_ENVIRONMENT
@$(PYTHON) -m venv $(@D)
@$(@D)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r $<
@$(@D)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
@touch $@
endef

# MLflow itself, with its stores on this disk: large, and wants an older pyarrow, so in an environment of its own.
.venv-mlflow/done: requirements/mlflow.lock
	$(OWN_ENVIRONMENT)

test-mlflow: .venv-mlflow/done
	MLFLOW_DISABLE_TELEMETRY=true .venv-mlflow/bin/pytest -n 0 -W ignore tests/integration/mlflow $(TEST_ARGS)

# Ray itself, on a cluster of two nodes of this machine: large, so in an environment of its own.
.venv-ray/done: requirements/ray.lock
	$(OWN_ENVIRONMENT)

test-ray: .venv-ray/done
	.venv-ray/bin/pytest -n 0 -W ignore tests/integration/ray $(TEST_ARGS)

# Screening by size, on this machine alone and on clusters of one node and of two.
bench-sizes: .venv-ray/done
	.venv-ray/bin/python bench/run.py screening_sizes

# Other people's scanners, each as it is published, in an environment of their own.
.venv-scanners/done: requirements/scanners.lock
	@$(PYTHON) -m venv .venv-scanners
	@.venv-scanners/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r requirements/scanners.lock
	@touch $@

# The scanner beside them.
bench-scanners: .venv/dev .venv-scanners/done
	$(BIN)/python bench/run.py scan

# Presidio's own sentences, of which the data files alone are read.
.venv-personal/done: requirements/personal.lock
	@$(PIP) --no-deps --require-hashes --upgrade --target .venv-personal -r requirements/personal.lock
	@touch $@

# Personal data, beside Presidio.
bench-personal: .venv/dev .venv-personal/done
	$(BIN)/python bench/run.py personal

# A peer of the screening, likewise.
.venv-screeners/done: requirements/screeners.lock
	@$(PYTHON) -m venv .venv-screeners
	@.venv-screeners/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r requirements/screeners.lock
	@touch $@

bench-screening: .venv/dev .venv-screeners/done
	$(BIN)/python bench/run.py poisoning

bench: .venv/dev
	$(BIN)/python bench/run.py $(BENCH_ARGS)

clean:
	rm -rf .venv .venv-scanners .venv-formats .venv-mlflow .venv-ray .venv-fuzz .fuzz .venv-screeners .venv-personal .mypy_cache .ruff_cache .hypothesis
