# Two commands do everything: `make demo` and `make test`. Both build their virtual environment first.

PYTHON ?= python3
VENV ?= .venv
OUT ?= build/demo
CONSTRAINTS ?= .ci/constraints.txt
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DISTRIBUTIONS := -e . -e plugins/adversarial -e plugins/study -e plugins/privacy -e plugins/bench
# Each process takes a run of neighbouring tests, so that what a module's tests share is made once.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal
SETTINGS := pyproject.toml $(wildcard plugins/*/pyproject.toml) $(wildcard .ci/*.txt)

.PHONY: help demo test lint format docs bench mutants lowest newest clean

help:  ## Show this list.
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.installed  ## Play the paper's games on real digits and write the report (minutes); goes on where it stopped.
	$(BIN)/minimaxopt study run --profile quick --out $(OUT)
	@echo "The report: $(OUT)/report.html"

test: lint  ## Install, lint, check types and run every test; the core's own tests must cover 97% of its lines.
	@# Coverage costs about half of a test's time again (on Python 3.11), and the plugins' tests have no part in it.
	$(PYTEST) --cov --cov-report=term:skip-covered --cov-fail-under=97 minimaxopt tests
	$(PYTEST) plugins

lint: $(VENV)/.installed-tools  ## ruff, codespell and pyright.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell $(shell git ls-files '*.py' '*.md' '*.toml' Makefile)
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.installed-tools  ## Put the code in form.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-tools  ## Build the documentation into site/; warnings are errors.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.installed  ## Time steps against loops written by hand and write docs/benchmarks/ (minutes, one idle core).
	OMP_NUM_THREADS=1 $(BIN)/python docs/benchmarks/steps.py
	OMP_NUM_THREADS=1 $(BIN)/python docs/benchmarks/derivatives.py

mutants: $(VENV)/.installed-tools  ## Mutation tests of the calculus and of the certificate's verdict (hours; see CONTRIBUTING.md).
	$(PIP) install --quiet --constraint $(CONSTRAINTS) --group mutants
	OMP_NUM_THREADS=1 $(BIN)/mutmut run
	$(BIN)/mutmut results

lowest:  ## Run the tests with the lowest versions that the metadata promise, in an environment of their own.
	$(MAKE) VENV=.venv-lowest CONSTRAINTS=.ci/lowest.txt .venv-lowest/.installed-tools
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n auto

newest:  ## Run the tests with the newest versions of everything, in an environment of their own.
	$(MAKE) VENV=.venv-newest CONSTRAINTS=/dev/null .venv-newest/.installed-tools
	OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest -n auto

clean:  ## Remove what the other commands made.
	rm -rf $(VENV) .venv-lowest .venv-newest mutants build site

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; name it by PYTHON=...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python $(SETTINGS)
	@# Here and not where the environment is made: it may have been there before, with a pip that knows no --group.
	$(PIP) install --quiet --upgrade "pip>=25.1"
	$(PIP) install --quiet --constraint $(CONSTRAINTS) $(DISTRIBUTIONS)
	@touch $@

$(VENV)/.installed-tools: $(VENV)/.installed
	$(PIP) install --quiet --constraint $(CONSTRAINTS) -e 'plugins/adversarial[referees]' --group test --group lint --group docs
	@# Without what it declares: torchvision, of which it uses nothing, and requests 2.25. What it does use came with the line above.
	$(PIP) install --quiet --constraint $(CONSTRAINTS) --no-deps torchattacks
	@touch $@
