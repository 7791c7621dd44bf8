#!/usr/bin/env bash
# Snakemake runs this inside the new environment. It installs dglframer itself, which the environment
# file cannot name: the rules know whether they come from a checkout or from a tag (package.smk).
# An environment is found again by the text of its files: this line makes those of each release its own.
# dglframer 0.2.0
set -eu

if [ -z "${DGLFRAMER_SOURCE:-}" ]; then
    echo "DGLFRAMER_SOURCE is not set: the rules export it, a checkout or what pip takes for a tag." >&2
    exit 1
fi
case $DGLFRAMER_SOURCE in
/*) set -- -e "$DGLFRAMER_SOURCE" ;;
*) set -- "$DGLFRAMER_SOURCE" ;;
esac
python -m pip install --no-deps --no-build-isolation "$@"
