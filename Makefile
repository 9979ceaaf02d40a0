# What a fresh machine needs: make, Python 3.11 or newer, and a package index that pip can reach.
# Everything is installed into .venv from requirements.lock, and nothing outside it is touched.

VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
CONFIG ?= config.yaml
# Coverage of branches, in percent, below which `make test` fails.
COVERAGE_MIN ?= 95
PYTEST_ARGS ?=
# More than most machines have cores: half of the time, tests wait for deadlines of real servers.
TEST_WORKERS ?= 4

.DEFAULT_GOAL := help
.PHONY: help run test bench lint boards lock clean

help:  ## what can be asked of make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(STAMP)  ## start the exporter with config.yaml; without that file, start the demo
	@if [ -e "$(CONFIG)" ]; then \
		exec $(BIN)/ci-exporter serve --config "$(CONFIG)"; \
	else \
		echo "There is no $(CONFIG) (cp config.example.yaml config.yaml makes one): starting the demo."; \
		exec $(BIN)/ci-exporter demo; \
	fi

# A worker takes whole files, which share what is slow to set up, in the order that tests/conftest.py gives them.
test: $(STAMP)  ## run all tests, with branch coverage
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder \
		--cov --cov-report=term --cov-fail-under=$(COVERAGE_MIN) $(PYTEST_ARGS)

bench: $(STAMP)  ## run every benchmark in tests/bench
	@set -e; for bench in tests/bench/bench_*.py; do \
		if [ -e "$$bench" ]; then echo "== $$bench"; PYTHONPATH=. $(BIN)/python "$$bench"; fi; \
	done

lint: $(STAMP)  ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

boards: $(STAMP)  ## write deploy/grafana/*.json anew from deploy/grafana/boards
	$(BIN)/python -m deploy.grafana.boards

lock:  ## write requirements.lock anew from pyproject.toml, everything at its newest version
	@$(find_python); "$$python" -m venv build/lock-tools
	build/lock-tools/bin/python -m pip install --quiet uv
	build/lock-tools/bin/uv pip compile pyproject.toml --all-extras --group dev --universal --upgrade \
		--python-version 3.11 --generate-hashes --no-emit-index-url --quiet \
		--custom-compile-command "make lock" --output-file requirements.lock

clean:  ## remove .venv and all that was built
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* htmlcov
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find exporter collectors queries tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A new venv each time, so that what the lock no longer names is gone as well.
$(STAMP): requirements.lock pyproject.toml
	@$(find_python); \
	echo "Setting up $(VENV) with $$python; this happens once, and after a change of requirements.lock or pyproject.toml."; \
	rm -rf "$(VENV)" && "$$python" -m venv "$(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $(STAMP)

# The interpreter behind an activated venv, since that venv may be the one about to be made anew.
BASE_PYTHON := 'import sys, venv, ensurepip; print(sys._base_executable); sys.exit(sys.version_info < (3, 11))'

# Sets $$python, or ends with a sentence. PYTHON=... chooses one.
define find_python
python=; \
for candidate in $(PYTHON) python3.13 python3.12 python3.11 python3 python3.14; do \
	python=$$("$$candidate" -c $(BASE_PYTHON) 2>/dev/null) && break; \
	python=; \
done; \
if [ -z "$$python" ]; then \
	echo "No Python 3.11 or newer with venv was found. Install one (on Debian: apt install python3 python3-venv)," >&2; \
	echo "or name it: make PYTHON=/path/to/python3.12 ..." >&2; \
	exit 1; \
fi
endef
