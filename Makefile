# What can be done here; `make help` lists it. Everything runs in .venv, which scripts/setup-venv makes when it is needed.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.SUFFIXES:

python := .venv/bin/python
# More arguments for pytest: make test ARGS='-k failover'
ARGS ?=
# How many tests run at a time, 0 for one after the other in one process: make test WORKERS=0. Most of a test is waiting
# for leases and for processes, so that one more than there are cores fits on them.
WORKERS ?= $(shell expr 1 + $$(nproc))
# The tests of a file stay together, as they may share a broker, and files keep their order: the slow ones come first.
pytest := -m pytest --dist loadfile --no-loadscope-reorder --numprocesses
# How many seeds the simulation runs: make simulate SEEDS=10000
SEEDS ?= 1000
# The role logic: whoever is active is decided here, so every branch is run.
role_logic := broker/tenure/domain/*,sdk/tenure/sdk/session.py,sdk/tenure/sdk/tenures.py,sdk/tenure/sdk/standing.py
role_logic := $(role_logic),sdk/tenure/sdk/drains.py,sdk/tenure/sdk/heartbeats.py,sdk/tenure/sdk/loop_watch.py
role_logic := $(role_logic),sdk/tenure/sdk/witness.py

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: venv-broker ## a broker, three processes, a kill: see a standby take over
	@.venv/bin/tenure demo

.PHONY: test
test: venv-dev ## all tests (make test ARGS='-k failover' runs some)
	@$(python) $(pytest) $(WORKERS) $(ARGS)

.PHONY: check
check: lint types layers coverage ## what has to be green before a commit: lint, types, layers, tests with coverage

.PHONY: lint
lint: venv-dev ## ruff: rules and format
	@echo '==> ruff'
	@$(python) -m ruff check
	@$(python) -m ruff format --check

.PHONY: types
types: venv-dev ## mypy and pyright, both strict
	@echo '==> mypy'
	@$(python) -m mypy
	@echo '==> pyright'
	@$(python) -m basedpyright

.PHONY: layers
layers: venv-dev ## import-linter: who may import whom
	@echo '==> import-linter'
	@.venv/bin/lint-imports --no-logo

.PHONY: coverage
coverage: venv-dev ## all tests, measured: 80 % overall, every branch of the role logic
	@echo '==> pytest, with coverage'
	@$(python) -m coverage erase
	@$(python) -m coverage run $(pytest) $(WORKERS) $(ARGS)
	@# Processes that tests kill leave half a data file each; what combine says about those is no news.
	@$(python) -m coverage combine --quiet 2>.coverage-log || { cat .coverage-log; exit 1; }
	@rm -f .coverage.*
	@echo '==> coverage overall'
	@$(python) -m coverage report
	@echo '==> coverage of the role logic'
	@$(python) -m coverage report --include='$(role_logic)' --fail-under=100

.PHONY: simulate
simulate: venv-dev ## broker, clients, network, disks and clocks from seeds (make simulate SEEDS=10000)
	@$(python) -m tests.simulation --seeds $(SEEDS) --counts

.PHONY: chaos
chaos: venv-dev ## real processes, killed, stopped, cut off, out of disk; about seven minutes (ARGS='--rounds 20 --seed 7')
	@$(python) -m tests.chaos $(ARGS)

.PHONY: bench
bench: venv-dev ## claims through the SDK, a broker process and a durable file; fails if a target is not met
	@$(python) -m bench claim --check

.PHONY: format
format: venv-dev ## ruff, with what it can mend by itself
	@$(python) -m ruff check --fix
	@$(python) -m ruff format

.PHONY: build
build: venv-dev ## the wheel and the sdist, into dist/
	@$(python) -m hatchling build

.PHONY: constraints
constraints: venv-dev ## pin what .venv holds (after a change of the dependencies)
	@scripts/write-constraints

.PHONY: upgrade
upgrade: ## a new .venv with the newest versions allowed, pinned
	@rm -rf .venv
	@: >constraints.txt
	@$(MAKE) --no-print-directory constraints

.PHONY: clean
clean: ## remove what the tools left behind; .venv stays
	@rm -rf build dist .coverage .coverage.* .coverage-log .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: venv-broker venv-dev
venv-broker venv-dev: venv-%:
	@scripts/setup-venv $*
