# Everything starts here: a machine with Python and make needs no other step.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SOURCES := otel_sla tests campaigns benchmarks dashboards examples

.DEFAULT_GOAL := help
.PHONY: help run test demo bench ratios lint format fuzz hostile soak months year orders crash powercut iofaults coverage parts package pictures outage example clean

help:  ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(INSTALLED)  ## Serve on the defaults; ARGS="--config FILE" to choose a configuration
	@$(BIN)/otel-sla run $(ARGS)

demo: $(INSTALLED)  ## Show an eventful hour, start to figure, in half a minute
	@$(BIN)/otel-sla demo $(ARGS)

test: $(INSTALLED)  ## Run the tests; ARGS="-k downtime" to choose
	@$(BIN)/pytest -q -n auto --dist worksteal $(ARGS)

lint: $(INSTALLED)  ## Check style, types, import contracts, spelling and that the documents are up to date
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python docs/make_configuration.py | diff -u docs/configuration.md -
	$(BIN)/python benchmarks/tables.py --check

format: $(INSTALLED)  ## Format, and mend what can be mended
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(INSTALLED)  ## Measure speed end to end, beside others; ten minutes; ARGS="--only stages" to choose
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@$(BIN)/python benchmarks $(ARGS)

ratios: $(INSTALLED)  ## Fail if a stage has become slow beside what it is compared with; ten seconds
	@$(BIN)/python benchmarks/check_ratios.py

fuzz: $(INSTALLED)  ## Try the decoder with millions of mutated messages, then ten minutes of both servers
	@$(BIN)/python campaigns/fuzz/fuzz_decode.py $(ARGS)
	@$(BIN)/python campaigns/fuzz/fuzz_servers.py

hostile: $(INSTALLED)  ## Attack a running pipeline: bombs, lies, slow senders, floods
	@$(BIN)/python campaigns/hostile $(ARGS)

soak: $(INSTALLED)  ## Load a pipeline for 83 minutes: every span counted, memory flat, answers quick
	@$(BIN)/python campaigns/soak.py $(ARGS)

months: $(INSTALLED)  ## Compare the reports of 1,000 random months with the slow twin's
	@$(BIN)/python campaigns/report_twin.py $(ARGS)

year: $(INSTALLED)  ## Live through a year in half an hour under a faked clock; needs libfaketime; ARGS="--days 90"
	@$(BIN)/python campaigns/year $(ARGS)

orders: $(INSTALLED)  ## Send the spans of 500 random cases in any order, with kills between; ARGS="--examples N"
	@$(BIN)/python campaigns/order_machine.py $(ARGS)

crash: $(INSTALLED)  ## Kill a loaded pipeline again and again, and count what it had acknowledged
	@$(BIN)/python campaigns/crash $(ARGS)

example: $(INSTALLED)  ## Show a FastAPI application, otel-sla and Prometheus through an outage; ARGS="--quick"
	@$(BIN)/python examples/fastapi/run.py $(ARGS)

powercut: $(INSTALLED)  ## Cut the power under 300 ledgers, and count what had been acknowledged
	@$(BIN)/python campaigns/powercut.py $(ARGS)

outage: $(INSTALLED)  ## Stop otel-sla for ten minutes behind the Collector's gateway configuration; needs `make parts`
	@$(BIN)/python campaigns/outage.py $(ARGS)

iofaults: $(INSTALLED)  ## Let each call on the disk fail in turn, and count what had been acknowledged
	@$(BIN)/python campaigns/io_faults.py $(ARGS)

# Compiled kernels are invisible to coverage: it runs the tests with the compiler off.
coverage: $(INSTALLED)  ## Measure which branches of the core and the ledger the tests take
	@NUMBA_DISABLE_JIT=1 $(BIN)/pytest -q -n auto --cov --cov-report= tests/unit tests/integration $(ARGS)
	@$(BIN)/coverage report --skip-covered --show-missing \
	    --include='otel_sla/spans/*,otel_sla/sla/*,otel_sla/ledger/*'
	@$(BIN)/coverage json -q -o .coverage.json && $(BIN)/python tests/coverage_gate.py .coverage.json

package: $(INSTALLED)  ## Build wheel and sdist, and try each in an environment of its own
	@$(BIN)/python tests/clean_install.py

pictures: $(INSTALLED)  ## Draw README's pictures anew: real queries to a real Prometheus; needs Go, and Chromium for page and report
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[pictures]'
	@$(BIN)/python tests/acceptance/parts.py --get
	@$(BIN)/python dashboards/make_pictures.py

parts: $(INSTALLED)  ## Build the Collector and the senders that the acceptance tests run; needs Go
	@$(BIN)/python tests/acceptance/parts.py --get

clean:  ## Remove what was made here
	rm -rf $(VENV) build dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find $(wildcard $(SOURCES)) -name __pycache__ -type d -prune -exec rm -rf {} +

# Made anew when the dependencies change. The stamp is written last: an installation that failed is tried again.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys' 2>/dev/null || \
	    { echo "otel-sla needs Python 3.11 or newer, and $(PYTHON) does not run: make PYTHON=... $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "otel-sla needs Python 3.11 or newer, $(PYTHON) is `$(PYTHON) -V 2>&1`: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "setting up $(VENV) (once, about a minute)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
