# make demo      the daemon on a synthetic exchange: fitted smiles in this terminal
# make test      everything CI runs
# make faults    every promise of docs/operations.md put to the test: half an hour, and a table
# make picture   draw docs/smile.svg anew
# make lock      resolve requirements.lock anew

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test faults picture lock

demo: .venv/installed
	$(BIN)/kvd demo

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile

faults: .venv/installed-dev
	OPENBLAS_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python tests/faults

picture: .venv/installed-dev
	$(BIN)/python docs/draw_smile.py

lock: .venv/installed-dev
	$(PIP) install pip-tools
	{ echo '# Made by `make lock` from pyproject.toml: what the container installs, with the hash of every file.'; \
	$(BIN)/pip-compile --quiet --upgrade --extra uvloop --generate-hashes --strip-extras --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file - pyproject.toml; } > requirements.lock.part
	mv requirements.lock.part requirements.lock

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("kvd needs Python 3.11 or later: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@echo 'installing kvd into .venv (once; a minute or so)'
	@$(PYTHON) -m venv .venv
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --editable '.[uvloop]'
	@touch $@

.venv/installed-dev: .venv/installed
	@$(PIP) install --group dev
	@touch $@
