# `make demo` and `make test` set up what they need in .venv; all they ask of the machine is Python 3.11 or newer.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
VALUES := deploy/helm/streamproc/values.schema.json
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo kafka test test-go tools chaos lint types bench docs clean setup

help:
	@echo "make demo   simulate a market, run it, and show features and bars"
	@echo "make kafka  start a Kafka broker on localhost:9092, until Ctrl-C"
	@echo "make test   run the tests            make test-go  run those against an S3 server, built with Go"
	@echo "make chaos  kill members and brokers at random for a minute, and compare: SEED=7 DURATION=600"
	@echo "make lint   check the style          make types  check the types"
	@echo "make bench  measure the speed        make docs   write the pages that are made from the code"
	@echo "make clean  remove what these made"

demo: $(READY)
	@$(BIN)/streamproc demo

kafka: $(READY)
	@$(BIN)/python -m tests.broker

test: $(READY)
	$(BIN)/pytest -m "not go" -n 4 --dist worksteal

tools: $(READY)
	$(BIN)/python -m tests.go_tools

test-go: tools
	$(BIN)/pytest -m go -n 2 --dist loadfile tests/kafka

chaos: SEED ?= 1
chaos: DURATION ?= 60
chaos: $(READY)
	$(BIN)/python -m tests.kafka.chaos --seed $(SEED) --seconds $(DURATION)

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

bench: $(READY)
	@for script in benchmarks/bench_*.py; do $(BIN)/python -m "benchmarks.$$(basename "$$script" .py)" || exit 1; done

docs: $(READY)
	$(BIN)/python -m streamproc.config yaml > config.yaml.new && mv config.yaml.new config.yaml
	$(BIN)/python -m streamproc.config markdown > docs/configuration.md.new && mv docs/configuration.md.new docs/configuration.md
	$(BIN)/python -m streamproc.schema > docs/columns.md.new && mv docs/columns.md.new docs/columns.md
	$(BIN)/python -m streamproc.observe.metrics > docs/metrics.md.new && mv docs/metrics.md.new docs/metrics.md
	$(BIN)/python -m streamproc.config values $(VALUES) > $(VALUES).new && mv $(VALUES).new $(VALUES)

clean:
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: $(READY)

# The stamp is newer than the pins exactly when the environment holds them.
$(READY): requirements-dev.txt pyproject.toml
	@for candidate in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "error: no Python 3.11 or newer found (python3 is: $$(python3 --version 2>&1 | tail -n 1))" >&2; \
	    echo "hint: install one, or name one: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; \
	fi; \
	echo "setting up $(VENV) with $$("$$found" --version): a minute or two, once"; \
	"$$found" -m venv $(VENV) || { echo "hint: on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)
