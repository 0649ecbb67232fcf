# `make demo` and `make test` each do all their set-up: an environment of their own, from the lock.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.locked
DEMO := demo_run

TORCHED := $(VENV)/.torch
AT_ONCE := tests/analysis tests/unet_models tests/test_hostile_files.py

.PHONY: demo test test-faults test-pbs bench lint format lock clean

$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || \
	  { echo "$$($(PYTHON) --version) found; Python 3.10 to 3.13 is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@

# The whole search in miniature: all 36 configurations, tiny networks, generated data.
demo: $(STAMP)
	@echo "demo: 36 points on synthetic sample data in $(DEMO)/"
	@rm -rf $(DEMO)
	@$(BIN)/python make_grid.py docs/demo_grid.yaml --run-dir $(DEMO)
	@$(BIN)/python -m jobs.local $(DEMO) --workers $$(nproc)
	@$(BIN)/python collect.py $(DEMO)
	@$(BIN)/python analyze.py $(DEMO)
	@echo "report: $(CURDIR)/$(DEMO)/analysis/comprehensive_analysis_report.txt"

# With a short form of the fault trials; `make test-faults` runs the long ones. Where nothing has a time limit or kills a
# process, two tests run at once; the others one by one.
test: $(STAMP)
	$(BIN)/python -m pytest -m "not faults" -n 2 $(AT_ONCE)
	$(BIN)/python -m pytest -m "not faults" $(addprefix --ignore=,$(AT_ONCE))

# Everything that can go wrong, on purpose, for about 15 minutes; prints what each trial counted.
test-faults: $(STAMP)
	$(BIN)/python -m pytest tests/faults -s

# The whole story on a real PBS; skipped, with the reason, where none answers. Part of `make test`, too.
test-pbs: $(STAMP)
	$(BIN)/python -m pytest -m pbs -s

# PyTorch (CPU build) is for this comparison only. For a quiet machine, 10 to 15 minutes; BENCH="startup scale --repeat 3" for some of it.
$(TORCHED): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --extra-index-url https://download.pytorch.org/whl/cpu torch==2.13.0
	@touch $@

bench: $(TORCHED)
	$(BIN)/python -m benchmarks $(BENCH)

lint: $(STAMP)
	$(BIN)/lint-imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/shellcheck -x .ci/run jobs/*.sh jobs/*.pbs

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# One lock for Python 3.10 to 3.13, with the CPU build of TensorFlow.
lock:
	uv pip compile --quiet --universal --no-header --python-version 3.10 --extra cpu --extra dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) $(DEMO) bench_results .pytest_cache .ruff_cache
