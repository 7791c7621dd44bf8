"""The Markdown of `speed.py`, from what it wrote to benchmarks/results/speed.json."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pages import fill

ROOT = Path(__file__).resolve().parents[1]
RESULTS_FILE = ROOT / "benchmarks" / "results" / "speed.json"
PAGE = ROOT / "docs" / "measured" / "speed.md"
BEGIN, END = "<!-- tables: written by benchmarks/speed.py -->", "<!-- end of tables -->"


def rendered(numbers: dict[str, Any]) -> str:
    """Every table."""
    quick = " Quick: the sizes mean nothing." if numbers["quick"] else ""
    parts = [
        f"Measured by benchmarks/speed.py on {numbers['machine']}, {numbers['threads']} threads, "
        f"torch {numbers['torch']}, commit {numbers['commit']}, load before "
        f"{numbers['load_before']:.2f}. Medians of interleaved rounds.{quick}",
        samples(numbers["samples"]),
        *(steps(numbers, sample["name"]) for sample in numbers["samples"]),
        literal(numbers["literal"]),
        preparation(numbers["preparation"]),
        epochs(numbers["epochs"]),
        memory(numbers["memory"]),
        *(scaling(what, rows) for what, rows in numbers["scaling"].items()),
        limits(numbers),
        accuracy(numbers["accuracy"]),
    ]  # fmt: skip
    if numbers["left_out"]:
        parts.append("Left out:\n\n" + "\n".join(f"- {line}" for line in numbers["left_out"]))
    return "\n\n".join(parts)


def write_page(numbers: dict[str, Any]) -> None:
    """Replace what stands between the markers of docs/measured/speed.md."""
    fill(PAGE, BEGIN, END, rendered(numbers))


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table under a title."""
    lines = [f"**{title}**", "", "| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    lines += ["| " + " | ".join(shown(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def shown(cell: Any) -> str:
    """Three significant digits of a number."""
    if not isinstance(cell, float):
        return "-" if cell is None else str(cell)
    if cell != 0 and not 1e-3 <= abs(cell) < 1e6:
        return f"{cell:.1e}"
    return f"{cell:.0f}" if abs(cell) >= 100 else f"{cell:.3g}"


def samples(rows: list[dict[str, Any]]) -> str:
    keys = "crystals atoms_mean atoms_median atoms_max pairs_mean edges_mean".split()
    lines = [[row["name"], *(row[key] for key in keys)] for row in rows]
    origins = "\n".join(f"- {row['name']}: {row['origin']}" for row in rows)
    title = "Samples (edges at 8.4 A)"
    return table(title, ["sample", *(k.replace("_", " ") for k in keys)], lines) + "\n\n" + origins


def steps(numbers: dict[str, Any], sample: str) -> str:
    """Rows: cases; columns: mode and batch."""
    rows = [row for row in numbers["steps"] if row["sample"] == sample]
    columns = sorted({(row["mode"], row["batch"]) for row in rows}, key=lambda c: (c[0], -c[1]))
    found = {(row["case"], row["mode"], row["batch"]): row for row in rows}
    cases = list(dict.fromkeys(row["case"] for row in rows))
    lines = [[case, *(rate(found.get((case, *column))) for column in columns)] for case in cases]
    header = ["case", *(f"{mode}, batch {batch}" for mode, batch in columns)]
    return table(f"{sample}: time per crystal, crystals per second", header, lines)


def rate(row: dict[str, Any] | None) -> str | None:
    """Milliseconds per crystal and crystals per second."""
    if row is None:
        return None
    ms = row["ms_per_crystal"]
    return f"{shown(ms)} ms, {shown(1e3 / ms)}/s"


def literal(numbers: dict[str, Any]) -> str:
    keys = "mode fast_ms literal_ms ratio literal_scaled_ms fast_batch_ms scaled_ratio".split()
    lines = [[row[key] for key in keys] for row in numbers["rows"]]
    header = [
        "mode", "fast, ms/crystal", "literal, ms/crystal", "ratio, same crystals",
        "literal scaled to the sample, ms/crystal", "fast there", "ratio, scaled",
    ]  # fmt: skip
    note = (
        f"The literal formulation ran on {numbers['crystals']} crystals of {numbers['atoms']} "
        f"atoms (one step; the fast path on the same, also one step), and gave the fast path's "
        f"predictions to {shown(numbers['difference'])} on {numbers['checked']} small crystals "
        "without ties. Scaled: by the number of ordered pairs per crystal, to the jarvis_like "
        "sample, against the fast path's largest batch there."
    )
    return table("The literal formulation", header, lines) + "\n\n" + note


def preparation(rows: list[dict[str, Any]]) -> str:
    keys = "case sample build_ms batch_ms".split()
    header = ["case", "sample", "graph building, ms/crystal", "batching, ms/crystal"]
    lines = [[row[key] for key in keys] for row in rows]
    return table("Preparation, on one thread, not in the times above", header, lines)


def epochs(rows: list[dict[str, Any]]) -> str:
    lines = [[row["case"], row["batch"], row["ms_per_crystal"], row["minutes"]] for row in rows]
    title = "One epoch of JARVIS, 44,578 crystals: EXTRAPOLATED from the jarvis_like sample"
    header = ["case", "batch", "training + batching, ms/crystal", "minutes per epoch"]
    return table(title, header, lines)


def memory(rows: list[dict[str, Any]]) -> str:
    keys = "case sample batch mode base_mib peak_mib".split()
    header = ["case", "sample", "batch", "mode", "before, MiB", "peak of the process, MiB"]
    title = "Peak resident memory, a fresh process each"
    return table(title, header, [[row[key] for key in keys] for row in rows])


def scaling(what: str, rows: list[dict[str, Any]]) -> str:
    keys = [what, *(key for key in rows[0] if key != what)]
    lines = [[row[key] for key in keys] for row in rows]
    return table(f"Fast path against {what}", [key.replace("_", " ") for key in keys], lines)


def limits(numbers: dict[str, Any]) -> str:
    peaks = numbers["peaks"]
    keys = "sample mode batch gflop gexp gbyte gflops share_of_sgemm share_of_copy share_of_exp"
    lines = [[row[key] for key in keys.split()] for row in numbers["limits"]]
    title = (
        f"Counted work of the fast path (benchmarks/speed_limits.py) against this machine's own "
        f"{shown(peaks['sgemm_gflops'])} GFLOP/s (sgemm), {shown(peaks['copy_gbyte_per_s'])} GB/s "
        f"(copy) and {shown(peaks['gexp_per_s'])} Gexp/s"
    )
    return table(title, [key.replace("_", " ") for key in keys.split()], lines)


def accuracy(rows: list[dict[str, Any]]) -> str:
    keys = "weights cutoff dtype least_weight max_error median_error output_std crystals".split()
    title = (
        "Error of the fast path against the reference path in float64 with a cutoff of 14 A = 10 r0 "
        "(normalised units; edges below exp(-least weight) of the largest are passed over)"
    )
    header = [key.replace("_", " ") for key in keys]
    return table(title, header, [[row[key] for key in keys] for row in rows])
