# upnext: the commands of the project. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: help setup peers browser postgres ray demo test check format clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.installed ## make .venv from the lock file

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "upnext needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

peers: .venv-peers/.installed ## make .venv-peers, in which benchmarks.quality fits known methods

.venv-peers/.installed: benchmarks/quality/peers.lock
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/quality/peers.lock
	@touch $@

browser: ## install Debian's chromium, which the tests of the console drive (without it they are skipped)
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
		{ if [ "$$(id -u)" = 0 ]; then as=; else as=sudo; fi; $$as apt-get update -qq && $$as apt-get install -y -qq chromium; }

postgres: ## install Debian's PostgreSQL server, which the tests start for themselves (without it they are skipped)
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || \
		{ if [ "$$(id -u)" = 0 ]; then as=; else as=sudo; fi; $$as apt-get update -qq && $$as apt-get install -y -qq postgresql; }

ray: $(VENV)/.ray ## install Ray beside the rest, for --ray and its tests (without it they are skipped)

$(VENV)/.ray: $(VENV)/.installed requirements-ray.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-ray.lock
	@touch $@

demo: setup ## a world, its log, trained models, their measures, and a server (ARGS=--no-serve ends after the table)
	$(BIN)/upnext demo $(ARGS)

test: setup ## the whole test suite, no network
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

check: setup ## format, lint, strict types (the import rules are a test)
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

format: setup ## format and sort imports
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

clean: ## remove what the commands made (not your homes)
	rm -rf $(VENV) .venv-peers .pytest_cache .mypy_cache .ruff_cache
