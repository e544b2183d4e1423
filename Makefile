# Two commands on a fresh machine: `make run` and `make test`. Both set up .venv first.
# Packages come from wherever pip is configured to look; no index is named here.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install run up test check bench chaos clean
# Hundreds of processes of the tests import the same modules: each would compile them again.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
# 3.11 and 3.12 first: for later ones the package rapid-textrank has no wheel and is compiled, which takes a Rust
# toolchain. `make PYTHON=/path/to/python run` takes any from 3.11 on.
PYTHON ?= $(shell \
	usable() { "$$1" -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= ($$2))" >/dev/null 2>&1; }; \
	for name in python3 python3.12 python3.11; do usable $$name '3, 12' && { echo $$name; exit; }; done; \
	for name in python3 python3.14 python3.13; do usable $$name '3, 99' && { echo $$name; exit; }; done)
# Named for what is installed: the set-up runs again when the lock or the project's own metadata changes, and only then.
STAMP := $(VENV)/.installed-$(shell cat requirements.lock pyproject.toml | cksum | tr -d ' ')

# Three, whatever the machine has: two leave two processors idle for a sixth of the time, and the servers of four take a
# minute to start there. Which process gets what is decided in tests/distribution.py.
AT_ONCE := -n 3 --dist loadgroup --no-loadscope-reorder

# Another implementation of age to be tested against, what users download with, reverse proxies to be run behind, a browser. Only
# as root, as in a container: nobody is asked for a password.
# While it installs, Debian starts no service of a package.
POLICY := /usr/sbin/policy-rc.d
INSTALL := install() { [ "$$(id -u)" = 0 ] && { [ -e $(POLICY) ] || { printf '\#!/bin/sh\nexit 101\n' > $(POLICY) && chmod +x $(POLICY) && trap "rm -f $(POLICY)" EXIT; }; } && { timeout 120 apt-get install -y -qq "$$@" || { timeout 120 apt-get update -qq && timeout 120 apt-get install -y -qq "$$@"; }; }; } >/dev/null 2>&1

help:
	@echo "make run     process the documents in samples/ and show what was made"
	@echo "make up      keep Postgres, Prefect and the deployments running until Ctrl-C"
	@echo "make test    the whole test suite"
	@echo "make check   linters, types, import contracts, words, sizes"
	@echo "make bench   the benchmarks"
	@echo "make chaos   the tests that kill and damage things, and the long ones of them"
	@echo "make clean   remove .venv and caches (documents and catalogue in .waybill stay)"

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed and none was found; install one, or say which: make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "setting up $(VENV) with $$("$(PYTHON)" -V): about a minute, and 1.5 GB"
	@[ -x $(BIN)/python ] || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.installed-*
	@touch $@

run: install
	$(BIN)/waybill process samples/

up: install
	$(BIN)/waybill up

test: install
	@$(INSTALL); command -v age >/dev/null || install age || echo "the age command is not here and cannot be installed; pyrage is tested against instead"
	@$(INSTALL); command -v curl >/dev/null || install curl || echo "the curl command is not here and cannot be installed; what is shown with it is left out"
	@$(INSTALL); command -v wget >/dev/null || install wget || echo "the wget command is not here and cannot be installed; downloads are not resumed with it"
	@$(INSTALL); command -v aria2c >/dev/null || install aria2 || echo "the aria2c command is not here and cannot be installed; downloads are not fetched by ranges at once with it"
	@$(INSTALL); command -v nginx >/dev/null || install nginx-light || echo "nginx is not here and cannot be installed; the gateway is not tested behind it"
	@$(INSTALL); command -v caddy >/dev/null || install caddy || echo "caddy is not here and cannot be installed; the gateway is not tested behind it"
	@$(INSTALL); command -v chromium >/dev/null || command -v google-chrome >/dev/null || install --no-install-recommends chromium || echo "chromium is not here and cannot be installed; what a web page of another origin reaches is not tested"
	@# Before the run, where no test's time limit counts: a package index may be slow.
	$(BIN)/python -c 'from tests.s3 import environment; environment.swift_environment()'
	$(BIN)/python -m pytest $(AT_ONCE)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python .ci/words_report.py
	$(BIN)/python .ci/pure_modules.py
	$(BIN)/python .ci/size_report.py

bench: install
	for file in benchmarks/[a-z]*.py; do name=$$(basename "$$file" .py); echo "== $$name"; $(BIN)/python -m "benchmarks.$$name"; done

chaos: install
	$(BIN)/python -m pytest tests/fault
	$(BIN)/python -m tests.fault.kill_and_resume --documents 50 --kills 10
	$(BIN)/python -m tests.fault.kill_expiry --files 2000 --kills 50
	$(BIN)/python -m tests.fault.kill_sweep --files 1100 --kills 50
	$(BIN)/python -m tests.fault.kill_trim --runs 60 --kills 20
	$(BIN)/python -m tests.fault.kill_transfer --megabytes 1024 --kills 10 --direction both
	$(BIN)/python -m tests.fault.kill_transfer --megabytes 1024 --direction link
	@$(INSTALL); [ -e /usr/lib/*/faketime ] || install faketime || echo "libfaketime is not here and cannot be installed; clocks do not jump"
	$(BIN)/python -m tests.chaos --minutes 30

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
