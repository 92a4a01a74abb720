# `make quickstart` and `make test` set everything up by themselves; see README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(shell cat requirements.lock | cksum | cut -d' ' -f1)
RAY_READY := $(VENV)/.ray-$(shell cat requirements.lock requirements-ray.lock | cksum | cut -d' ' -f1)
TESTS := tests data_prep train export evaluate
# those that need nothing but the embedded sample or what they make up
BENCHMARKS := bootstrap coverage data_prep data_prep_kills faults int8_kernels near_duplicates train_kills train_speed train_step
export HF_HUB_DISABLE_TELEMETRY = 1
export TOKENIZERS_PARALLELISM = true

.PHONY: help setup quickstart test coverage lint bench docs clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(READY)  ## create .venv with the pinned dependencies

# torch first and by itself: its CPU build satisfies everything that depends on it
$(READY): requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep -E '^torch==' requirements.lock)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@rm -f $(VENV)/.ready-*
	@touch $@

# the extra that the tests of engine=ray need; nobody else does
$(RAY_READY): $(READY) requirements-ray.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-ray.lock
	@rm -f $(VENV)/.ray-*
	@touch $@

quickstart: setup  ## the whole road on the embedded sample: data, training, ONNX, report
	$(BIN)/python -m data_prep
	$(BIN)/python -m train experiment=quickstart
	$(BIN)/python -m export run=runs/quickstart/latest release=quickstart variants=[fp16]
	$(BIN)/python -m evaluate release=quickstart gate=demo report.show_text=true

test: setup $(RAY_READY)  ## the test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile $(TESTS)

coverage: setup $(RAY_READY)  ## the test suite with branch coverage, also of the stages it starts; fails below 92%
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term-missing:skip-covered --durations=15 $(TESTS)

lint: setup  ## formatting, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup  ## every benchmark in its quick form, one after the other: tens of minutes
	@for name in $(BENCHMARKS); do \
		echo "== benchmarks/$$name.py --quick"; \
		$(BIN)/python benchmarks/$$name.py --quick || exit 1; \
	done

docs: setup  ## the pages: links, files, commands and configs they name, and the tutorials run as written
	$(BIN)/python -m pytest tests/docs tests/data_prep/test_inspect.py

clean:  ## remove data, runs and releases that the stages wrote
	rm -rf data runs releases
