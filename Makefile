# `make demo` and `make test` each set up what they need in a private virtual environment and can be run again.
# PYTHON chooses the interpreter (3.11 or later).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.lyot-installed
DEMO ?= demo
JOBS ?= 2

.PHONY: demo test setup check unit coverage clean

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Lyot needs Python 3.11 or later; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Lyot and its locked dependencies into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

setup: $(STAMP)

demo: $(STAMP)
	@$(BIN)/lyot demo --out $(DEMO) --jobs $(JOBS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q -n 0 tests/test_docstrings.py

unit: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

test: check unit

# The same tests with their coverage, lines and branches; the tracer makes pure Python several times slower.
coverage: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --cov --cov-report=term

clean:
	rm -rf $(VENV) $(DEMO)
