# `make train` trains, `make test` tests; `make lint` and `make types` check the code; `make docs` builds the manual;
# `make audit` looks for known vulnerabilities;
# `make dist` builds a release and `make dist-test` tests it. Each sets up the environment that it needs and reuses it
# until pyproject.toml, setup.py or constraints.txt changes.
# ARGS passes arguments on: make train ARGS="train.epochs=20"
VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
READY = $(VENV)/.ready
DEV = $(VENV)/.ready-dev
DOCS = $(VENV)/.ready-docs
MYPY_OUTPUT = $(VENV)/mypy.txt
BASELINE = .ci/mypy-baseline.txt
UNTYPED_ROOMS = partoken/protein/

.PHONY: train test lint types types-baseline audit docs dist dist-test clean

train: $(READY)
	$(BIN)/python run_partoken.py $(ARGS)

# A process per core, up to four; the small tensors of the tests gain nothing from more threads.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses=4 --dist loadfile $(ARGS)

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

# Fails on an error that is not in the baseline, on an entry whose error is gone, and on an entry outside UNTYPED_ROOMS.
types: $(DEV)
	@$(BIN)/mypy >$(MYPY_OUTPUT); test $$? -le 1 || { cat $(MYPY_OUTPUT); exit 2; }
	@$(BIN)/mypy-baseline filter --hide-stats <$(MYPY_OUTPUT) || { \
	  echo "fix the errors above; if none is listed, $(BASELINE) has errors that are gone: make types-baseline" >&2; \
	  exit 1; }
	@! grep -v '^$(UNTYPED_ROOMS)' $(BASELINE) || { \
	  echo "$(BASELINE) may list errors only in $(UNTYPED_ROOMS): fix the errors above" >&2; exit 1; }
	@echo "types: no new errors, $$(wc -l <$(BASELINE)) known ones in $(BASELINE)"

# Rewrites the list of known type errors. Commit it only if it got shorter.
types-baseline: $(DEV)
	@$(BIN)/mypy >$(MYPY_OUTPUT); test $$? -le 1 || { cat $(MYPY_OUTPUT); exit 2; }
	$(BIN)/mypy-baseline sync <$(MYPY_OUTPUT)

# Compares the pinned versions with the known vulnerabilities; needs the network.
audit: $(DEV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/pip-audit -r constraints.txt --no-deps --disable-pip

# Builds the manual into site/. Fails on a broken link, and on a page that loads anything from the network.
docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "manual: open site/index.html"

# Builds the sdist, and the wheel from the sdist.
dist: $(DEV)
	rm -rf dist build partoken.egg-info
	$(BIN)/python -m build --outdir dist . >$(VENV)/build.txt 2>&1 || { cat $(VENV)/build.txt; exit 1; }
	$(BIN)/twine check --strict dist/*
	$(BIN)/python .ci/check_dist.py dist

# Runs the tests with the wheel in a new environment outside the clone.
dist-test: dist
	.ci/test_wheel $(BIN)/python $(ARGS)

$(READY): pyproject.toml setup.py constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 found; name one with make PYTHON=..." >&2; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON): about a minute and 1.2 GB the first time"
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e ".[test]"
	@touch $@

$(DEV): $(READY)
	@echo "adding the development tools to $(VENV): ten seconds"
	$(PIP) -e ".[dev]"
	@touch $@

$(DOCS): $(READY)
	@echo "adding the tools of the manual to $(VENV): ten seconds"
	$(PIP) -e ".[docs]"
	@touch $@

clean:
	rm -rf $(VENV) site build dist partoken.egg-info outputs multirun .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
