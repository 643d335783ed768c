# Set-up and the everyday commands. Needs Python 3.11 and make, nothing else.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
CORES  ?= 2
export PYTHONHASHSEED := 0

.PHONY: help demo demo-full test test-all test-slurm lint format docs bench lock clean
help:            ## say what can be made
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(VENV)/.ready: requirements.lock pyproject.toml
	@echo "Setting up $(VENV) from requirements.lock (once; a few minutes)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -c "from isocenter.fitting import compile_kernels; compile_kernels(processes=$(CORES))"
	@touch $@

demo: $(VENV)/.ready  ## simulate a multicenter trial as DICOM and run the whole chain on it
	$(BIN)/isocenter demo --cores $(CORES)

demo-full: $(VENV)/.ready  ## the same with diffusion, heart and thigh, in the folder demo-full
	$(BIN)/isocenter demo --full --cores $(CORES)

test: $(VENV)/.ready  ## the tests (without the slow ones): the parts side by side, then whole trials, which use all cores
	$(BIN)/pytest -m "not slow" -n $(CORES) --dist loadfile -q --ignore tests/end_to_end
	$(BIN)/pytest -m "not slow" tests/end_to_end

test-all: $(VENV)/.ready  ## every test
	$(BIN)/pytest -n $(CORES) --dist loadfile -q --ignore tests/end_to_end
	$(BIN)/pytest tests/end_to_end

test-slurm: $(VENV)/.ready  ## a small trial through a Slurm of one node that is set up here; needs root, installs slurm-wlm and munge
	{ command -v slurmctld && command -v slurmd && command -v munged; } >/dev/null || \
		{ apt-get update -qq && apt-get install -y -qq slurm-wlm munge; }
	$(BIN)/pytest -s tests/end_to_end/test_slurm.py

lint: $(VENV)/.ready  ## ruff, snakefmt and snakemake --lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check workflow
	$(BIN)/snakemake --snakefile workflow/Snakefile --directory . --lint

format: $(VENV)/.ready  ## rewrite the sources in the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt workflow

docs: $(VENV)/.ready  ## the documents as a site that opens from disk: docs/_build/index.html
	$(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning --keep-going docs docs/_build

bench: $(VENV)/.ready  ## speed beside peers, in one run
	$(BIN)/python -m benchmarks

lock: $(VENV)/.ready  ## write requirements.lock anew from pyproject.toml
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--extra dev pyproject.toml --output-file requirements.lock

clean:           ## remove what the demo and the runs made
	rm -rf results .snakemake sites/*/dicom demo-truth demo-full docs/_build
