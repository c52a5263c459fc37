# `make demo` and `make test` each set up what they need in a private virtual environment and can be run again.
# PYTHON chooses the interpreter (3.11 or later).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.lyot-installed
DOCS_STAMP := $(VENV)/.lyot-docs-installed
DEMO ?= demo
JOBS ?= 2

.PHONY: demo test setup check unit doctest smoke docs tutorials changelog dist clean

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

# Tests that share what takes long to make go to one process; --no-loadscope-reorder: in the order of tests/conftest.py.
XDIST := -n $(JOBS) --dist loadgroup --no-loadscope-reorder
# Lines and branches are counted by our own plug-in, so that of SlipCover stays off.
COVERAGE := -p tests.coverage_plugin -p no:slipcover

unit: $(STAMP)
	$(BIN)/python -m pytest $(XDIST) $(COVERAGE)

# The examples in the docstrings of the package.
doctest: $(STAMP)
	$(BIN)/python -m pytest -q -n 0 --doctest-modules src/lyot

# Wheel and sdist as they would be published, the wheel built from the unpacked sdist, each used in an empty environment
# that has the dependencies of $(VENV): half a minute, and no network. `make dist` takes them from the index.
smoke: $(STAMP)
	@rm -rf $(VENV)/dist
	@$(BIN)/python -m build --no-isolation --outdir $(VENV)/dist . > $(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; exit 1; }
	.ci/smoke_test --with $(VENV) $(VENV)/dist/*

test: check doctest smoke unit

# The tests with other versions of the dependencies, each in an environment of its own; run weekly.
unit-%:
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check $(if $(filter oldest,$*),-c .ci/oldest.txt) \
	  -e '.[test]' $(if $(filter jwst-main,$*),'jwst @ git+https://github.com/spacetelescope/jwst')
	.venv-$*/bin/python -m pytest -n $(JOBS) --dist loadgroup

$(DOCS_STAMP): $(STAMP) requirements-docs.lock
	@echo "Installing what the documentation is built with into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.lock -c requirements.lock
	@touch $@

# The documentation, warnings as errors. Needs no network once its packages are installed.
docs: $(DOCS_STAMP)
	@rm -rf docs/api  # pages of names that are gone would be left over
	@MPLBACKEND=agg $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "Documentation: $(CURDIR)/docs/_build/html/index.html"

# The tutorial notebooks with their outputs, for the next `make docs`: 15 minutes on two cores.
tutorials: $(DOCS_STAMP)
	$(BIN)/python docs/execute_tutorials.py

# The next section of the changelog from the fragments in changes/; with VERSION=X.Y.Z it is written, and they are removed.
changelog: $(DOCS_STAMP)
	@$(BIN)/python -m towncrier build $(if $(VERSION),--yes --version $(VERSION),--draft --version next)

# Wheel and sdist to publish, built in isolation, and the smoke test of both in empty environments with all dependencies
# from the index, as a user installs them; takes several minutes, so `make test` has the short form (`make smoke`).
dist: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	PYTHON=$(PYTHON) .ci/smoke_test dist/*

clean:
	rm -rf $(VENV) $(DEMO) docs/_build docs/api docs/tutorials/notebooks dist build
