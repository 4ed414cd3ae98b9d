# Two commands do everything: `make train` and `make test`. Both set up the environment first, and reuse it while
# pyproject.toml and constraints.txt stay as they are. ARGS is handed on: make train ARGS="train.epochs=20"
VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
READY = $(VENV)/.ready

.PHONY: train test clean

train: $(READY)
	$(VENV)/bin/python run_partoken.py $(ARGS)

test: $(READY)
	$(VENV)/bin/python -m pytest $(ARGS)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 found; name one with make PYTHON=..." >&2; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON): about a minute and 1.2 GB the first time"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	@touch $@

clean:
	rm -rf $(VENV) outputs multirun .pytest_cache .hypothesis
