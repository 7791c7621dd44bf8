"""Pages that hold a part written by a script, between two markers, and the command line of such a script."""

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any


def fill(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between the markers, which stay."""
    before, rest = page.read_text(encoding="utf-8").split(begin)
    after = rest.split(end)[1]
    page.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")


def mean_and_each(values: list[float], form: str) -> str:
    """The mean of the seeds and, in brackets, each of them; ``form`` as in a format string."""
    each = ", ".join(f"{value:{form}}" for value in values)
    return f"{statistics.mean(values):{form}} ({each})"


def machines(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    """The machines of some trainings, each once."""
    return sorted({run["machine"] for run in runs})


def publish(
    doc: str,
    options: Mapping[str, dict[str, Any]],
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    results: Path,
    part: tuple[Path, str, str],
    rendered: Callable[[dict[str, Any]], str],
    drawn: Callable[[dict[str, Any]], None] = lambda numbers: None,
) -> None:
    """Measure, write the results file, and from it the part of the page, and figures if ``drawn``.

    With `--page` nothing is measured.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    for flag, settings in options.items():
        parser.add_argument(flag, **settings)
    parser.add_argument("--page", action="store_true", help="only write the page again")
    args = parser.parse_args()
    if not args.page:
        results.write_text(json.dumps(measure(args), indent=1) + "\n", encoding="utf-8")
    numbers = json.loads(results.read_text(encoding="utf-8"))
    fill(*part, rendered(numbers))
    drawn(numbers)
