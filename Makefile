# On a fresh machine with git, make and a Python, `make demo` and `make test` are all there is to know.
# The newest stack that the machine can run is picked by tools/pick-python; these variables overrule it:
#   PYTHON=python3.12   the Python to use         STACK=current|classic   the stack to use
#   VENV=.venv          where to install          ARGS='…'                for the demo, pytest or uv
VENV ?= .venv
PYTHON ?=
STACK ?=
ARGS ?=

python := $(VENV)/bin/python
demo := $(python) -m tfx_edge.pipelines.digits

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-blocked test test-unit test-current test-classic bench-gate bench-accuracy lint typecheck wheel constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

setup: ## install into .venv what the other targets need (they call it themselves)
	@PYTHON='$(PYTHON)' STACK='$(STACK)' tools/setup-venv '$(VENV)'

demo: setup ## run the digits pipeline: train, shrink, measure, bless and push a model
	$(demo) $(ARGS)

demo-blocked: setup ## the same with a size limit that no model meets: the gate blocks the push, and make fails
	$(demo) --max-size-bytes 1000 $(ARGS)

test: setup ## run all tests
	$(python) -m pytest $(ARGS)

test-unit: setup ## run the tests that need no whole pipeline
	$(python) -m pytest tests/unit $(ARGS)

test-current: ## run all tests on the current stack, in a virtual environment of its own
test-classic: ## the same on the classic stack
test-current test-classic: test-%:
	@$(MAKE) --no-print-directory test STACK=$* VENV=.venv-$*

bench-gate: setup ## how often the latency gate errs, in quiet and under load (40 minutes; ARGS='--trials 10')
	$(python) benchmarks/gate_latency.py --load quiet $(ARGS)
	$(python) benchmarks/gate_latency.py --load busy $(ARGS)

bench-accuracy: setup ## examples a second of the evaluation, beside TFMA and a plain loop (minutes)
	$(python) benchmarks/evaluation.py $(ARGS)

lint: setup ## check style and format
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

typecheck: wheel ## check the types of the built wheel (a type checker cannot see through the editable install)
	rm -rf build/typecheck
	$(VENV)/bin/uv pip install --quiet --python $(python) --no-deps --target build/typecheck dist/*.whl
	test -f build/typecheck/tfx_edge/py.typed
	MYPYPATH=build/typecheck $(python) -m mypy -p tfx_edge

wheel: setup ## build the source distribution and the wheel into dist/
	rm -rf dist
	$(VENV)/bin/uv build --quiet --python $(python) --build-constraint constraints.txt

# Not after setup, which fails while pyproject.toml and constraints.txt disagree; it puts uv in place all the same.
constraints: | $(VENV)/bin/uv ## pin the dependencies of both stacks anew (ARGS=--upgrade to raise them)
	$(VENV)/bin/uv pip compile pyproject.toml --quiet --python-version 3.10 --universal --all-extras --group dev \
	  --no-header --no-annotate --output-file constraints.txt $(ARGS)
	sed -i "/ruff-pre-commit/{n;s/rev: .*/rev: v$$(sed -n 's/^ruff==//p' constraints.txt)/}" .pre-commit-config.yaml

$(VENV)/bin/uv:
	@$(MAKE) --no-print-directory setup

clean: ## remove what was built, but not the virtual environments
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path './.venv*' -prune -o -name __pycache__ -exec rm -rf {} +
