# Every target sets up what it needs. Nothing outside of this directory is touched.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
BIN := .venv/bin
TEMPORAL_VERSION := v1.5.1
FUZZ_SECONDS ?= 60
SOAK_MINUTES ?= 60
OPS ?= 1000
TEMPORAL_BIN := $(CURDIR)/.cache/bin
export PATH := $(CURDIR)/$(BIN):$(TEMPORAL_BIN):$(PATH)

.PHONY: help setup run test browser e2e systemd temporal lint bench fuzz soak clean wheel package

help: ## this list
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: .venv/.ready worker/dist/.ready ## all that timewright needs: .venv, worker/node_modules, worker/dist

run: setup ## the daemon, the worker host and a Temporal dev server, on specs/ (Ctrl-C stops all)
	@exec timewright run --embedded

test: setup browser ## lint, types and the tests that need no server
	ruff check .
	ruff format --check .
	mypy
	pytest -q -m "not e2e and not systemd" -n 3 --dist worksteal
	cd worker && npm test --silent

browser: .venv/.ready ## what drives the Chromium of this machine in the tests of the page; none: they are skipped
	@if [ -n "$${CHROMIUM:-}" ] || command -v chromium-headless-shell chromium chromium-browser google-chrome >/dev/null; then \
	  python -c 'import playwright' 2>/dev/null || \
	    $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[browser]'; fi

e2e: setup temporal ## the same against a real Temporal server
	export TEMPORAL_CLI="$$(command -v temporal)"; \
	  pytest -q -m "e2e and not quiet" -n 3 --dist worksteal || { [ $$? = 1 ] && echo "once more, one by one: what failed" && \
	    pytest -q -m "e2e and not quiet" --last-failed --last-failed-no-failures none; }; \
	  pytest -q -m "e2e and quiet"
	cd worker && TEMPORAL_CLI="$$(command -v temporal)" node --test --test-timeout=300000 dist/test/temporal.test.js

systemd: wheel temporal ## a host's life on a booted Debian, in a container: install, kill, reboot, upgrade (as root)
	tools/package --folder
	export TEMPORAL_CLI="$$(command -v temporal)"; pytest -q -m systemd

temporal: ## the temporal command: the one on PATH, else built into .cache/bin (about 3 minutes, needs Go)
	@command -v temporal >/dev/null || { \
	  command -v go >/dev/null || { echo "Error: no temporal command, and no Go to build it"; \
	    echo "Try: install Go, or put the temporal command on PATH"; exit 1; }; \
	  echo "building temporal $(TEMPORAL_VERSION) into .cache/bin (once, about 3 minutes)"; \
	  GOBIN="$(TEMPORAL_BIN)" GOFLAGS=-modcacherw go install github.com/temporalio/cli/cmd/temporal@$(TEMPORAL_VERSION); }

lint: setup ## format and mend what can be mended
	ruff format .
	ruff check --fix .

wheel: setup ## dist/*.whl: timewright for a host; `timewright setup` there completes it
	rm -rf worker/dist && $(MAKE) --no-print-directory worker/dist/.ready
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist .

package: wheel ## dist/timewright-*.tar.gz: all that a host needs, also without network (systemd/install is in it)
	tools/package

bench: setup temporal ## measure all beside what people use today, and write docs/bench.md (half an hour)
	@export TEMPORAL_CLI="$$(command -v temporal)"; python -m bench $(BENCH)

fuzz: .venv/.ready ## coverage-guided fuzzing of all that reads what strangers wrote (FUZZ_SECONDS=600 FUZZ="config worker")
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	@for reader in $${FUZZ:-$$($(BIN)/python -m tests.fuzz.readers)}; do \
	  echo "== $$reader"; mkdir -p .cache/fuzz/found; \
	  $(BIN)/python -m tests.fuzz.fuzz $$reader .cache/fuzz/$$reader -max_total_time=$(FUZZ_SECONDS) -timeout=30 \
	    -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 -artifact_prefix=.cache/fuzz/found/$$reader- 2>&1 \
	    | grep -vE '^(INFO|#)' ; \
	done

soak: setup temporal ## an hour of changes and faults under load, 1,000 deaths, 500 made-up days (SOAK_MINUTES=10 OPS=100)
	export TEMPORAL_CLI="$$(command -v temporal)"; \
	  EXAMPLES=500 pytest -q --timeout 7200 tests/test_world_model.py; \
	  OPS=$(OPS) pytest -q -s --timeout 14400 tests/e2e/test_kill_loop.py; \
	  SOAK_MINUTES=$(SOAK_MINUTES) python -m tests.chaos.soak

clean: ## remove what the targets above made (specs and var stay)
	rm -rf .venv .cache dist worker/node_modules worker/dist

.venv/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("timewright needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@tools/node-for-setup
	@touch $@

worker/node_modules/.ready: worker/package.json worker/package-lock.json .venv/.ready
	cd worker && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

worker/dist/.ready: worker/node_modules/.ready worker/tsconfig.json $(shell find worker/src -name '*.ts' 2>/dev/null)
	cd worker && npm run --silent build
	@touch $@
