# `make` alone lists the targets. The environment goes into .venv; nothing outside the checkout changes.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help env run docs test test-slow test-cluster test-scale mutants lint lock audit clean

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# An interpreter to build .venv with; the first that runs, fits and can make virtual environments is taken.
PYTHON ?=
# More arguments for snakemake or pytest, e.g. `make run ARGS=-n`, `make test ARGS="-k frames"`.
ARGS ?=

# Candidates are really run: a pyenv shim on PATH may stand for a version that is not installed.
define find_python
fits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))'
python=
no_venv=
for candidate in $(PYTHON) python3.11 python3.12 python3 python; do
    "$$candidate" -c "$$fits" >/dev/null 2>&1 || continue
    if "$$candidate" -c 'import venv, ensurepip' >/dev/null 2>&1; then python=$$candidate; break; fi
    no_venv="$$no_venv $$candidate"
done
if [ -z "$$python" ] && [ -n "$$no_venv" ]; then
    echo "make: found$$no_venv, but without the modules that make virtual environments." >&2
    echo "      Install them (Debian, Ubuntu: apt install python3-venv) and try again." >&2
    exit 1
elif [ -z "$$python" ]; then
    echo "make: Python 3.11 or 3.12 is needed and none was found: DGL publishes no wheel that works" >&2
    echo "      beyond 3.12. Install Python 3.11 (your package manager, pyenv, uv or conda has it)," >&2
    echo "      then: make PYTHON=/path/to/python3.11 run" >&2
    exit 1
fi
echo "Using $$("$$python" -c 'import platform, sys; print(sys.executable, platform.python_version())')"
endef

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | column -t -s '|' 2>/dev/null \
	    || sed -nE 's/^([a-z-]+):.*## (.*)/  make \1: \2/p' $(firstword $(MAKEFILE_LIST))

env: $(VENV)/.complete  ## set up .venv (minutes the first time)

# The stamp is written last and removed first, so that a half-made environment is made again from
# nothing; a complete one is only brought up to date, which keeps a torch build chosen by hand.
$(VENV)/.complete: requirements.lock requirements-torch.txt pyproject.toml
	@if [ ! -e $@ ]; then
	    $(find_python)
	    "$$python" -m venv --clear $(VENV)
	fi
	rm -f $@
	# torch first: pip takes the build that fits the platform (or the one already there). The lock
	# then brings what torch pulled in to the locked versions.
	$(PIP) install -r requirements-torch.txt
	$(PIP) install --require-hashes --no-deps -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	$(PIP) check
	$(BIN)/dglframer doctor --compile  # else the first training or prediction would wait for it
	touch $@

run: env  ## run the workflow on all cores
	@export PATH="$(CURDIR)/$(BIN):$$PATH"  # rules call `dglframer` and `python`
	$(BIN)/snakemake --cores all $(ARGS)
	if [ -e results/report.html ]; then sed -n '/test MAE/,/report is in/p' results/logs/report.txt; fi

# A process for each core takes whole files of tests; a thread each, so that they do not crowd.
test: env  ## run the tests, on all cores
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

test-slow: env  ## run the tests that take minutes
	@$(BIN)/python -m pytest -m slow --timeout 1800 $(ARGS)

test-cluster: env  ## run the workflow through a Slurm of its own (as root, packages of docs/guide/clusters.md)
	@$(BIN)/python -m pytest -m cluster --timeout 1800 -rs tests/cluster $(ARGS)

# What each stage took stands in results/scale/SIZE/stages.json; the same command goes on where it was stopped.
test-scale: env  ## a million crystals through every stage (an hour or more, some 2 GB in results/scale)
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/scale.py $(ARGS)

# mutmut is no part of .venv: nothing else needs it.
mutants: env  ## put small faults into the code and see which the tests miss (tens of minutes)
	@scratch=$$(mktemp -d)
	trap 'rm -rf "$$scratch"' EXIT
	$(PIP) install --quiet --target "$$scratch" mutmut==3.8.1
	PYTHONPATH="$$scratch" OMP_NUM_THREADS=1 $(BIN)/python tools/mutants.py $(ARGS)

lint: env  ## check style, formatting, types and imports
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/snakefmt --check Snakefile workflow/

docs: env  ## build the documentation as a site in site/, warnings are errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Versions already in the lock stay unless they no longer fit: `make lock LOCK_ARGS=--upgrade` renews
# them all, `LOCK_ARGS="--upgrade-package numpy"` one. torch and its CUDA companions are left out,
# since they differ between the CPU and the CUDA builds (requirements-torch.txt).
LOCK_ARGS ?=
UNLOCKED := torch triton cuda-bindings cuda-pathfinder cuda-toolkit $(addprefix nvidia-,cublas \
    cuda-cupti cuda-nvrtc cuda-runtime cudnn-cu13 cufft cufile curand cusolver cusparse \
    cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx)

lock:  ## write requirements.lock anew from pyproject.toml
	@$(find_python)
	scratch=$$(mktemp -d)
	trap 'rm -rf "$$scratch"' EXIT
	"$$python" -m venv "$$scratch"
	"$$scratch/bin/pip" --disable-pip-version-check install --quiet uv==0.13.9
	"$$scratch/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --extra dev --extra docs --extra mp --extra qm9 --extra scans --extra slurm --extra tensorboard --constraint requirements-torch.txt \
	    $(addprefix --no-emit-package ,$(UNLOCKED)) --custom-compile-command "make lock" \
	    $(LOCK_ARGS) --output-file requirements.lock pyproject.toml

# It asks PyPI about every pinned version. Strict: a package that PyPI does not answer for is no pass.
audit: env  ## look for known weaknesses of the pinned packages (needs a network)
	@scratch=$$(mktemp -d)
	trap 'rm -rf "$$scratch"' EXIT
	$(PIP) install --quiet --target "$$scratch" pip-audit==2.10.1
	PYTHONPATH="$$scratch" $(BIN)/python -m pip_audit --strict --disable-pip --require-hashes -r requirements.lock $(ARGS)

clean:  ## remove the results and Snakemake's state (keeps .venv)
	@rm -rf results .snakemake
