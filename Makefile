# `make run` and `make test` set up everything they need in .venv: no root, no Docker, no compiler.
.DEFAULT_GOAL := help
VENV := .venv
# The newest Python this machine has, 3.11 at least; override with `make PYTHON=python3.12 run`.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# The repository comes first on the path, so that no stray package called `tasks` is found instead of ours.
export PYTHONPATH := $(CURDIR)
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/$(VENV)/cache/hypothesis
# Where this is set, every process of a cluster compiles every module anew.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# A Mooncake-format request trace (JSON lines) for the end-to-end tests to replay a slice of.
KVSYNC_CI_TRACE ?=
TRACE := $(if $(KVSYNC_CI_TRACE),--trace-file=$(KVSYNC_CI_TRACE))

.PHONY: help install run test coverage check format lock clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

install: $(VENV)/installed ## make .venv with everything in it

run: $(VENV)/installed ## test a KV-cache event system through the whole pipeline (ARGS="e2e chaos --seed 7")
	kvsync-ci run $(if $(KVSYNC_CI_TRACE),--trace $(KVSYNC_CI_TRACE)) $(ARGS)

test: $(VENV)/installed ## run this repository's own tests (ARGS="-k codec")
ifdef ARGS
	pytest $(TRACE) $(ARGS)
else
	@$(MAKE) --no-print-directory --jobs 2 test-unit test-others
	@# What judges how quickly requests were answered: each test has a cluster of its own, and two leave it time enough.
	pytest -n 2 --dist worksteal tests/chaos docs/sample/tests
endif

# One process, beside those of the others: if each of three collected these thousands of short tests, they would cost
# twice the CPU. What it prints comes in one piece.
.PHONY: test-unit test-others
test-unit:
	@mkdir -p $(VENV)/cache
	pytest tests/unit > $(VENV)/cache/unit.log 2>&1; status=$$?; cat $(VENV)/cache/unit.log; exit $$status

# In this order, the longest files first, so that no worker is left alone with one at the end.
test-others:
	pytest -n 3 --dist loadfile --no-loadscope-reorder $(TRACE) tests/pipeline tests/e2e tests/property tests/integration

# What the library's own tests are: those of the pipeline start hundreds of processes that run none of it.
OTHERS := ci deployments tasks testing __pycache__ conftest.py
LIBRARY_TESTS := $(filter-out $(addprefix tests/unit/,$(OTHERS)),$(wildcard tests/unit/*)) tests/property \
	tests/integration/gateway tests/integration/access tests/integration/indexer tests/integration/simulator \
	tests/integration/recordings \
	$(wildcard tests/integration/test_*.py)

coverage: $(VENV)/installed ## measure what the library's tests run, and fail if it is too little
	rm -rf $(VENV)/cache/coverage
	coverage run -m pytest -q -n 3 --dist loadfile $(LIBRARY_TESTS)
	coverage combine --quiet
	coverage json --quiet -o $(VENV)/cache/coverage/coverage.json
	kvsync-ci coverage $(VENV)/cache/coverage/coverage.json --html reports/coverage.html --of branches \
		$(foreach part,codec.py 'sequence/**' 'index/**' routing.py subscriber.py manager.py,--path kvsync/$(part)=95)
	kvsync-ci coverage $(VENV)/cache/coverage/coverage.json --minimum 90

check: $(VENV)/installed ## ruff, mypy --strict, import-linter
	ruff format --check .
	ruff check .
	mypy
	lint-imports --no-logo --cache-dir $(VENV)/cache/import-linter

format: $(VENV)/installed ## rewrite the code the way `make check` wants it
	ruff format .
	ruff check --fix .

# Without the extra `services`: its servers are large, and tests that want them skip without.
lock: $(VENV)/installed ## resolve requirements.lock again from pyproject.toml
	pip install --quiet uv
	uv pip compile --universal --python-version 3.11 --extra check --extra pipeline --extra tracing --generate-hashes --no-header --quiet \
		pyproject.toml --output-file requirements.lock

clean: ## remove reports and the virtual environment, after reaping what a killed run may have left
	@if [ -x $(VENV)/bin/kvsync-ci ]; then $(VENV)/bin/kvsync-ci clean; fi
	rm -rf reports $(VENV) *.egg-info build dist
	find . -name __pycache__ -type d -prune -exec rm -r {} +

$(VENV)/installed: requirements.lock pyproject.toml setup.py kvsync/core/_core.c
	@test -n "$(PYTHON)" || { echo "kvsync needs Python 3.11 or newer on PATH, or: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "this Python has no venv module; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# The lock names everything. Resolved again, pip would want hashes of versions that are newer than locked.
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.lock
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
