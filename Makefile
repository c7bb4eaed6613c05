# The front door. Every target makes what it needs; `make` alone lists them.

VENV     ?= .venv
PYTHON   ?= $(shell command -v python3.11 || command -v python3)
BIN      := $(VENV)/bin
READY    := $(VENV)/.ready
PYTEST   := $(BIN)/python -m pytest
LOCK     := $(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --quiet --upgrade \
            --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
# Arguments for pytest, as in: make test ARGS="-k lease -x"
ARGS     ?=
# Tests run in this many processes.
JOBS     ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo fmt check test sim bench chaos docs build lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  \1\t/' | expand -t 10

setup: $(READY) ## make the virtual environment, by the lock

$(READY): requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## orders, a payment service, and workers that are killed on the way
	$(BIN)/python -m examples.orders.demo

fmt: $(READY) ## format, and mend what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix-only --quiet

check: $(READY) ## format, lint, types and import arrows; changes nothing
	@failed=; run() { echo "$$*"; $(BIN)/"$$@" || failed="$$failed $$1"; }; \
	$(BIN)/mypy & beside=$$!; \
	run ruff format --check --output-format concise; \
	run ruff check --output-format concise; \
	run lint-imports --no-cache; \
	run pyright --pythonpath $(BIN)/python; \
	run python tools/build_docs.py --check; \
	echo mypy; wait $$beside || failed="$$failed mypy"; \
	[ -z "$$failed" ] || { echo "make check: failed:$$failed"; exit 1; }

test: $(READY) ## all tests
	$(PYTEST) -n $(JOBS) --dist worksteal $(ARGS)

sim: $(READY) ## a longer simulation campaign with fresh seeds
	$(BIN)/python -m tests.sim.campaign $(ARGS)

bench: $(READY) ## the benchmark beside its floor: a table and JSON
	$(BIN)/python -m benchmarks.run $(ARGS)

chaos: $(READY) ## real processes that are killed, stopped and cut off
	$(PYTEST) tests/process tests/e2e $(ARGS)

docs: $(READY) ## write the generated pages, and print which test proves which requirement
	$(BIN)/python tools/build_docs.py
	$(BIN)/python tools/requirements_table.py

build: $(READY) ## the wheel, tried in an empty environment
	rm -rf dist build/smoke
	$(BIN)/python -m pip wheel --disable-pip-version-check --quiet --no-deps --no-build-isolation --wheel-dir dist .
	$(PYTHON) -m venv build/smoke
	build/smoke/bin/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements/runtime.txt
	build/smoke/bin/python -m pip install --disable-pip-version-check --quiet --no-deps dist/holdfast-*.whl
	build/smoke/bin/python -I tools/wheel_smoke.py

lock: $(READY) ## resolve the dependencies anew
	$(LOCK) --group dev --output-file requirements/dev.txt
	$(LOCK) --constraints requirements/dev.txt --output-file requirements/runtime.txt

clean: ## remove what was built, but not the environment
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests tools examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
