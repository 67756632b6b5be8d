# make demo       install and run the demonstration
# make test       install, lint, type-check and run the tests
# make test-all   the slow tests too
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-all lint types clean

demo: $(STAMP)
	$(BIN)/trackime-apps demo -o demo --overwrite

# A process a core, one thread each: threads of their own would only get in each other's way.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto

test: lint types
	$(PYTEST)

test-all: lint types
	$(PYTEST) -m "not gpu"

lint: $(STAMP)
	$(BIN)/ruff check .

# The applications' folder is called apps and its package trackime_apps: a link shows it to the type checker.
types: $(STAMP)
	mkdir -p $(VENV)/typing && ln -sfn ../../apps $(VENV)/typing/trackime_apps
	MYPYPATH=$(VENV)/typing $(BIN)/mypy

# The stamp is touched last: an install that broke off is done again.
$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "no python 3.11 or newer found: set PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache demo
