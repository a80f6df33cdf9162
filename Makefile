# make demo   trains Huber and Smooth IoU on synthetic shapes and writes an HTML report (a few minutes)
# make test   runs the tests but for the slow ones (about 6 minutes on 2 cores); make test-all runs all
# Both set up .venv by themselves, once; nothing but Python 3.11+ with pip is needed.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all test-hosts lint docs bench benchmarks clean

demo: .venv/installed
	$(BIN)/smoothiou compare shapes --recipe quick --losses huber,smooth-iou --seeds 0,1 --jobs 2 --out runs/demo

test: .venv/tested
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

test-all: .venv/tested
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

# Adapters against their hosts, in an environment of its own: Ultralytics, Lightning, MMDetection. detectron2 is tested where
# its folder stands in DETECTRON2; without it those tests are skipped.
DETECTRON2 ?=
test-hosts: .venv-hosts/installed
	OMP_NUM_THREADS=1 PYTHONPATH=$(DETECTRON2) .venv-hosts/bin/python -m pytest -o addopts=-q tests/hosts

.venv-hosts/installed: pyproject.toml
	test -x .venv-hosts/bin/python || $(PYTHON) -m venv .venv-hosts
	.venv-hosts/bin/python -m pip install --quiet --disable-pip-version-check -e '.[hosts]'
	touch $@

lint: .venv/developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# The site, into site/: without the network, and with an error where a link or an anchor leads nowhere.
docs: .venv/documented
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/installed
	$(BIN)/python benchmarks/adapter_overhead.py

# Some 20 minutes on idle cores; DATA=path/to/BCCD, or synthetic shapes.
DATA ?= shapes
benchmarks: .venv/tested
	$(BIN)/python benchmarks/all.py --data $(DATA)

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/tested: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

.venv/developed: .venv/tested
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

.venv/documented: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	touch $@

clean:
	rm -rf site dist .venv .venv-hosts .pytest_cache .ruff_cache
