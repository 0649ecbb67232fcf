# Every target sets up what it needs: a virtual environment in .venv with the versions of requirements.lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.locked
DEMO := demo_run

TORCH := $(VENV)/.torch
MUTMUT := $(VENV)/.mutmut
AUDIT := $(VENV)/.audit

.DEFAULT_GOAL := help
.PHONY: help demo check test coverage test-faults test-pbs mutants bench calibrate lint format lock audit clean test-security

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || \
	  { echo "$$($(PYTHON) --version) found, but Python 3.10 to 3.13 is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

demo: $(STAMP)  ## run a whole search in miniature: 36 configurations, generated data, a report (3 minutes)
	@echo "demo: 36 points on synthetic sample data in $(DEMO)/"
	@rm -rf $(DEMO)
	@$(BIN)/python make_grid.py docs/demo_grid.yaml --run-dir $(DEMO)
	@$(BIN)/python -m jobs.local $(DEMO) --workers $$(nproc)
	@$(BIN)/python collect.py $(DEMO)
	@$(BIN)/python analyze.py $(DEMO)
	@echo "report: $(CURDIR)/$(DEMO)/analysis/comprehensive_analysis_report.txt"

check: lint  ## before each commit: lint and the quick tests (under 3 minutes)
	$(BIN)/python -m pytest -q -n 2 -m "not slow and not faults and not pbs"

test: $(STAMP)  ## all tests, with the short form of the fault trials (under 14 minutes)
	$(BIN)/python -m pytest -n 2 -m "not faults" --durations=15

# Counting lines makes the tests half as slow again. It counts what runs in their own processes, and not the commands and
# points that they start as separate ones.
coverage: $(STAMP)  ## all tests, and the lines that none of them runs; fails below 93 % (20 minutes)
	$(BIN)/python -m pytest -n 2 -m "not faults" --cov --cov-report=term

test-faults: $(STAMP)  ## the long form of the fault trials: kills, pauses, full disks (about 15 minutes)
	FAULT_TRIALS=200 $(BIN)/python -m pytest tests/faults -s

test-security: $(STAMP)  ## every threat with every command, and 2,000 files replaced at random (about 30 minutes)
	SECURITY_TRIALS=2000 $(BIN)/python -m pytest tests/security -s

test-pbs: $(STAMP)  ## the tests on a real PBS server; they are skipped where none answers
	$(BIN)/python -m pytest -m pbs -s

# mutmut is installed for this target only. MUTANTS="records claims --sample 20" tries fewer.
$(MUTMUT): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check mutmut==3.8.1
	@touch $@

mutants: $(MUTMUT)  ## change the code in small ways and count how many changes the tests notice (hours)
	$(BIN)/python -m tests.mutants $(MUTANTS)

# PyTorch (CPU build) is installed for the comparison only, all of it from this one index: of two, pip would take whichever has
# the higher version. BENCH="startup scale --repeat 3" runs a part.
$(TORCH): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --index-url https://download.pytorch.org/whl/cpu torch==2.13.0
	@touch $@

bench: $(TORCH)  ## measure training, start-up, a large volume and 10,000 points on an idle machine (15 minutes)
	$(BIN)/python -m benchmarks $(BENCH)

# ARGS="noise best-set --replicates 100" is a short form of two scenarios; --list shows all.
calibrate: $(STAMP)  ## simulate summaries with known truth, and count wrong verdicts and missed ones (an hour)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.calibration $(ARGS)

lint: $(STAMP)  ## check the format, the style, the shell scripts, the imports between rooms and the types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/shellcheck -x .ci/run jobs/*.sh jobs/*.pbs
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(STAMP)  ## format the code, and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# For Python 3.10 to 3.13, with hashes: for developers with the CPU build of TensorFlow, for a cluster with its CUDA build, and
# what is added to the TensorFlow of a container's image, which may have NumPy 1. Versions stay until UPGRADE=--upgrade.
LOCK = uv pip compile --quiet --universal --no-header --python-version 3.10 --no-strip-extras --generate-hashes $(UPGRADE)
lock:  ## write the requirements*.lock anew (needs uv)
	$(LOCK) --extra cpu --extra dev pyproject.toml -o requirements.lock
	$(LOCK) --extra cluster pyproject.toml -o requirements-cluster.lock
	printf 'numpy<2\n' | $(LOCK) --extra image --constraint - pyproject.toml -o requirements-image.lock

$(AUDIT): $(STAMP)
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1

audit: $(AUDIT)  ## look for known vulnerabilities of the locked packages (asks the package index)
	@for lock in requirements*.lock; do echo "$$lock"; $(AUDIT)/bin/pip-audit --disable-pip --strict --require-hashes --progress-spinner off -r $$lock || failed=1; done; exit $${failed:-0}

clean:  ## delete the environment, the demo and what the tools left
	rm -rf $(VENV) $(DEMO) bench_results .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
