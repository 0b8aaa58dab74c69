# `make` alone lists what there is. Everything runs in .venv, which is made on first use.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help run test check bench clean

help:  ## List these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(INSTALLED)  ## Fine-tune a small Whisper on speech made on the spot, with no network and no GPU
	@$(BIN)/harness run quickstart/spoken_digits

test: check  ## Everything that must be green: the checks, then the tests
	@OMP_NUM_THREADS=1 $(BIN)/pytest -q --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: $(INSTALLED)  ## Lint, format, types, and every task file that is shipped
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/harness validate tasks/

bench: $(INSTALLED)  ## Run the benchmarks; each one prints its figures and asserts its limit
	@set -e; for bench in tests/bench/bench_*.py; do echo "== $$bench"; PYTHONPATH=. $(BIN)/python "$$bench"; done

clean:  ## Delete the environment, caches and built files; results/ stays
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "mm-harness needs Python 3.11 or newer, and $(PYTHON) isn't. Name another one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing into .venv (once, a minute or two) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[development,tracking,video,chat]'
	@touch $@
