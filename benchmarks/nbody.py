"""The table of docs/measured/nbody.md: `python benchmarks/nbody.py`, after `snakemake nbody`.

Copies results/nbody/table.json (--results) to benchmarks/results/nbody.json and writes the table of the
page from it. `--page` only does the last.
"""

import json
from pathlib import Path

from pages import publish

from dglframer.experiments.nbody.table import markdown as rendered

ROOT = Path(__file__).resolve().parents[1]
RESULTS_FILE = ROOT / "benchmarks" / "results" / "nbody.json"
PAGE = ROOT / "docs" / "measured" / "nbody.md"
BEGIN, END = "<!-- table: written by benchmarks/nbody.py -->", "<!-- end of table -->"


def main() -> None:
    publish(
        __doc__ or "",
        {"--results": {"type": Path, "default": Path("results/nbody/table.json")}},
        lambda args: json.loads(args.results.read_text(encoding="utf-8")),
        RESULTS_FILE,
        (PAGE, BEGIN, END),
        rendered,
    )


if __name__ == "__main__":
    main()
