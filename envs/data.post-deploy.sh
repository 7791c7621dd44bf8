#!/usr/bin/env bash
# Snakemake runs this inside the new environment. It installs the checkout itself, which the
# environment file cannot name: Snakemake copies that file elsewhere, so relative paths break.
set -eu

if [ -z "${DGLFRAMER_SOURCE:-}" ]; then
    echo "DGLFRAMER_SOURCE is not set: it must name the dglframer checkout (the Snakefile exports it)." >&2
    exit 1
fi
python -m pip install --no-deps --no-build-isolation -e "$DGLFRAMER_SOURCE"
