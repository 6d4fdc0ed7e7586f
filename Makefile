# Two commands are all that most people need: `make run` and `make test`.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8501

# The many processes of the tests and of jobs read compiled modules instead of compiling them each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test lint types unit browser bench test-ray clean

run: $(VENV)/.run-time
	$(BIN)/python -m limit serve --port $(PORT)

test: lint unit

lint: $(VENV)/.test-time
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Not part of the tests: it keeps one core busy for a minute and a half.
types: $(VENV)/.test-time
	$(BIN)/mypy

# Browser tests need Debian's chromium; where it cannot be installed they skip and say so. Three processes on two cores:
# tests of pages and jobs wait more than they compute. Files come in the order of tests/conftest.py.
unit: $(VENV)/.test-time browser
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

browser:
	@command -v chromium >/dev/null || .ci/install-chromium || true

bench: $(VENV)/.test-time
	$(BIN)/python -m tests.bench

# A real Ray head on this machine; ray is never installed otherwise.
test-ray: $(VENV)/.test-time
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "ray[default]==2.60.0"
	$(BIN)/python -m pytest tests/jobs/test_ray.py -q

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run-time: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.txt
	@touch $@

$(VENV)/.test-time: requirements-dev.txt requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements-dev.txt
	@touch $@ $(VENV)/.run-time

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
