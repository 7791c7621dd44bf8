"""The table of docs/nbody.md: `python benchmarks/nbody.py`, after `snakemake nbody`.

Copies results/nbody/table.json (--results) to benchmarks/results/nbody.json and writes the table of the
page from it. `--page` only does the last.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from pages import fill

ROOT = Path(__file__).resolve().parents[1]
RESULTS_FILE = ROOT / "benchmarks" / "results" / "nbody.json"
PAGE = ROOT / "docs" / "nbody.md"
BEGIN, END = "<!-- table: written by benchmarks/nbody.py -->", "<!-- end of table -->"
NOT_RUN = "Not run yet: `snakemake nbody`, then `python benchmarks/nbody.py`."


def numbers_at_hand() -> dict[str, Any] | None:
    """The results file, if the experiment has been run."""
    return json.loads(RESULTS_FILE.read_text()) if RESULTS_FILE.is_file() else None


def rendered(numbers: dict[str, Any] | None) -> str:
    """The tables of both data sets."""
    from dglframer.nbody.table import markdown

    return markdown(numbers) if numbers else NOT_RUN


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results/nbody/table.json"))
    parser.add_argument("--page", action="store_true", help="only write the page again")
    args = parser.parse_args()
    if not args.page:
        numbers = json.loads(args.results.read_text())
        RESULTS_FILE.write_text(json.dumps(numbers, indent=1) + "\n")
    fill(PAGE, BEGIN, END, rendered(numbers_at_hand()))


if __name__ == "__main__":
    main()
