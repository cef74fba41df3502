# One command per question. Everything is installed into .venv, nothing outside this folder is touched.
#
#   make demo    the whole system at work: daemon, simulated stations, webhook receiver, dashboard; Ctrl-C ends it
#   make test    all tests
#   make check   formatting, lint, import contracts, types
#   make docs    the documentation, into docs/_build/html; warnings are errors
#   make wheel   build the distribution, and try it in a fresh environment outside this folder
#   make bench   the benchmarks, with their targets
#   make study   ping settings against links: time to find a dead station, false offlines
#   make soak    every regime that tries what is promised, for hours, and a table in the end
#   make autobahn  the Autobahn test suite against each station transport, where there is a CPython 2.7
#   make mutants which small changes of the code no test notices
#   make clean   remove .venv and whatever was built
#
# Another Python: make PYTHON=/usr/bin/python3.12 test. One test: make test ARGS='tests/engine/test_fold.py -k order'.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
ARGS   ?=
ROOMS  := engine projections transports daemon

.PHONY: demo test check lint docs wheel bench study soak autobahn mutants clean
.DELETE_ON_ERROR:

# make ends with 130 when it sees Ctrl-C, whatever its recipe does about it; the verdict's code is the command's own.
demo: $(VENV)/.daemon
	@$(BIN)/stationkeeper demo $(ARGS)

test: $(VENV)/.test
	$(BIN)/python -m pytest $(ARGS)

# mypy takes the rooms one by one: a bare `-p stationkeeper` would also walk tests, bench and docs as namespace folders.
# It reads the others from .venv, where it cannot take tests/engine for the room of that name.
check: lint
	$(BIN)/mypy -m stationkeeper -m stationkeeper.__main__ $(ROOMS:%=-p stationkeeper.%)
	cd $(VENV) && bin/mypy --config-file ../setup.cfg ../tests ../bench ../docs
	$(BIN)/pyright

lint: $(VENV)/.check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

docs: $(VENV)/.docs
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "The documentation is in docs/_build/html/index.html."

wheel: $(VENV)/.check
	.ci/wheel

bench: $(VENV)/.test
	$(BIN)/python bench/run.py $(ARGS)

study: $(VENV)/.study
	$(BIN)/python bench/tradeoff.py $(ARGS)

soak: $(VENV)/.test
	$(BIN)/python tests/soak.py $(ARGS)

autobahn: $(VENV)/.test
	PYTHONPATH=tests $(BIN)/python -m autobahn $(ARGS)

mutants: $(VENV)/.test
	PYTHONPATH=tests $(BIN)/python -m mutants $(ARGS)

# Each extra is installed again whenever the dependencies may have changed.
$(VENV)/.%: setup.cfg pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[$*]'
	@touch $@

# `python3 -m venv` without ensurepip fails and leaves a half-made folder behind, so that is asked first.
# The names folder lets mypy and pyright find the root under its package's name, whatever its folder is called.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Stationkeeper needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing)."; \
	  echo "Install it, or say which one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip; ensurepip.version()' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments. On Debian and Ubuntu: sudo apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@mkdir -p $(VENV)/names && ln -sfn ../.. $(VENV)/names/stationkeeper

clean:
	rm -rf $(VENV) build dist *.egg-info docs/_build .hypothesis .pytest_cache .ruff_cache
