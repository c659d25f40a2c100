# Every verb of the project. Each makes .venv by itself, from pyproject.toml and constraints.txt.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
# Test processes; 0 is this one. One for each core, and one that mostly waits (tests/lanes.py).
JOBS ?= $(shell echo $$(($(shell getconf _NPROCESSORS_ONLN) + 1)))
BIN := $(VENV)/bin
# Nor do compiled files stay unwritten: tests start a hundred processes, each of which would compile all of ours again.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-all chaos fuzz check bench evidence peers docs up clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: $(VENV)/ready ## The whole journey on real data (ARGS=--exit stops everything at the end)
	@$(BIN)/winnow demo $(ARGS)

up: $(VENV)/ready ## API, worker and dashboard on this machine
	@$(BIN)/winnow up

# Files in their order: that reordering would leave those with few and long tests to the end, where one process waits
# for the others.
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations=10

test: $(VENV)/ready ## What every change must pass (installs Debian's chromium for the browser tests where it may)
	@.ci/chromium
	@$(PYTEST) -m "not thorough" $(ARGS)

test-all: $(VENV)/ready ## The same for every preset, family and size
	@.ci/chromium
	@$(PYTEST) --hypothesis-profile=thorough $(ARGS)

chaos: $(VENV)/ready ## Kill, freeze, cut off and flush everything at 30 random moments (SEED=n repeats them)
	@WINNOW_CHAOS_MOMENTS=30 WINNOW_CHAOS_SEED=$(or $(SEED),0) $(BIN)/python -m pytest -n 0 tests/chaos $(ARGS)

fuzz: $(VENV)/ready ## 10,000 requests of every kind of key to every route
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[fuzz]"
	@WINNOW_FUZZ_CASES=150 $(BIN)/python -m pytest -vv -n 0 tests/service/test_fuzz.py $(ARGS)

check: $(VENV)/ready ## ruff, mypy strict, import-linter, prose
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python docs/prose.py

docs: $(VENV)/ready ## The documentation as a site, in site/: it opens without a server and without the internet
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs --quiet build --clean

bench: $(VENV)/ready ## Benchmarks that run on a CPU in minutes
	@$(BIN)/python benchmarks/supernet_overhead.py

evidence: $(VENV)/ready ## What was measured for every claim, how long it took, what is open (ARGS="--resume NAME" runs it)
	@$(BIN)/python -m benchmarks.evidence $(ARGS)

# Whatever installs of it; the rest is said. Our own environment stands behind, so torch and optuna are the same.
peers: $(VENV)/ready ## Other people's searches, in .venv-peers, for benchmarks/leaderboard.py
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> $$(.venv-peers/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/behind.pth
	@for package in coco-experiment botorch smac HEBO; do \
		.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check $$package \
			|| echo "$$package does not install here"; \
	done

clean: ## Remove the environment and caches (not your data in ~/.winnow)
	rm -rf $(VENV) .venv-peers .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info

$(VENV)/ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Winnow needs Python 3.11 or newer, with venv. Set PYTHON=/path/to/python." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[all,dev]"
	@touch $@
