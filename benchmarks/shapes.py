"""Numbers and figures of docs/measured/shapes.md: `python benchmarks/shapes.py`, after `snakemake shapes`.

Copies table.json of the folder results/shapes (--results) to benchmarks/results/shapes.json and its two
figures to docs/measured, and writes the part of the page with the numbers. `--page` only does the last.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from pages import publish

from dglframer.experiments.shapes.table import markdown as rendered

ROOT = Path(__file__).resolve().parents[1]
RESULTS_FILE = ROOT / "benchmarks" / "results" / "shapes.json"
MEASURED = ROOT / "docs" / "measured"
PAGE = MEASURED / "shapes.md"
BEGIN, END = "<!-- numbers: written by benchmarks/shapes.py -->", "<!-- end of numbers -->"


def measure(args: argparse.Namespace) -> dict[str, Any]:
    for name in ("tilt", "objects"):
        shutil.copy(args.results / f"{name}.svg", MEASURED / f"shapes_{name}.svg")
    return json.loads((args.results / "table.json").read_text(encoding="utf-8"))


def main() -> None:
    publish(
        __doc__ or "",
        {"--results": {"type": Path, "default": Path("results/shapes")}},
        measure,
        RESULTS_FILE,
        (PAGE, BEGIN, END),
        rendered,
    )


if __name__ == "__main__":
    main()
