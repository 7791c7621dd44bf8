"""A stand-in for conda: it answers what Snakemake asks, and its environments hold the code installed."""

import os
import stat
import sys
from pathlib import Path

# An environment has the interpreter and the packages of the tests, but for `pip install`: what it was
# told to install is where its `dglframer` comes from.
CONDA = """#!/usr/bin/env bash
here=$(cd "$(dirname "$0")/.." && pwd)
echo "$@" >> "$here/calls"
case "$1 $2" in
  "info --json") echo "{\\"conda_prefix\\": \\"$here\\", \\"platform\\": \\"linux-64\\"}" ;;
  "--version ") echo "conda 26.7.0" ;;
  "config --get") echo '{"get": {"channel_priority": "strict"}}' ;;
  "env create")
    while [ $# -gt 0 ]; do
      case "$1" in --file) file=$2 ;; --prefix|-p) prefix=$2 ;; esac; shift
    done
    mkdir -p "$prefix/bin" "$prefix/conda-meta" && touch "$prefix/conda-meta/history"
    cp "$file" "$prefix/environment.yaml"
    cp "$here/dglframer" "$here/python" "$prefix/bin" ;;
esac
"""
DGLFRAMER = """#!/bin/sh
PYTHONPATH=$(cat "$CONDA_PREFIX/source") exec @PYTHON@ -m dglframer "$@"
"""
PIP = """#!/bin/sh
if [ "$2" != pip ]; then exec @PYTHON@ "$@"; fi
echo "$@" >> "@ROOT@/calls"
for last in "$@"; do :; done
case $last in
  git+*@*)
    url=${last#git+}
    git clone --quiet --branch "${last##*@}" "${url%@*}" "$CONDA_PREFIX/clone" || exit 1
    last=$CONDA_PREFIX/clone ;;
esac
echo "$last" > "$CONDA_PREFIX/source"
"""
ACTIVATE = 'export PATH="$1/bin:$PATH" CONDA_PREFIX="$1"\n'


class FakeConda:
    """What is installed in ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "bin").mkdir(parents=True)
        (root / "bin" / "activate").write_text(ACTIVATE)
        for name, text in {"bin/conda": CONDA, "dglframer": DGLFRAMER, "python": PIP}.items():
            text = text.replace("@PYTHON@", sys.executable).replace("@ROOT@", str(root))
            (root / name).write_text(text)
            (root / name).chmod(stat.S_IRWXU)

    def first_on_path(self, environment: dict[str, str]) -> dict[str, str]:
        """The environment variables with this conda."""
        return {**environment, "PATH": f"{self.root / 'bin'}{os.pathsep}{environment['PATH']}"}

    def installs(self) -> list[str]:
        """What pip was told to install, each time."""
        calls = (self.root / "calls").read_text().splitlines()
        return [line.split("--no-build-isolation ")[1] for line in calls if "pip install" in line]
