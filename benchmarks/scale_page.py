"""The tables of docs/measured/scale.md from the stored results, and the estimate for 100 million crystals."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from speed_tables import table

SHARDS_FILE = Path(__file__).parent / "results" / "graphs.json"
LARGE = 100_000_000
MAX_MIB, MAX_GROWTH = 1536, 1.5  # of a stage's own memory, and of its CPU time a crystal


def rendered(numbers: dict[str, Any]) -> str:
    """Every table, the verdict on them, and the estimate."""
    cost = numbers["symmetry_ms"]
    parts = [
        f"Measured by benchmarks/scale.py on {numbers['machine']}, while other work ran on it: read the CPU "
        "seconds, not the wall seconds. Crystals of at most "
        f"{numbers['max_atoms']} atoms, a cutoff of {numbers['cutoff']:g} Å; one in "
        f"{numbers['symmetric']} keeps its symmetry."
    ]
    for run in numbers["runs"]:
        parts += [run_table(run), *missing(run, numbers["runs"][0])]
    parts += [alone_table(numbers["alone"])] if numbers["alone"] else []
    parts.append(
        table(
            f"What symmetry costs, CPU milliseconds a crystal ({cost['crystals']} of each kind)",
            ["", "symmetric", "sheared"],
            [[name, value, cost["sheared"][name]] for name, value in cost["symmetric"].items()],
        )
    )
    parts.append("\n".join(verdict(numbers)))
    parts.append(estimate(numbers))
    return "\n\n".join(parts)


def run_table(run: dict[str, Any]) -> str:
    """The stages of one size."""
    rows = [
        [name, *(one[key] for key in ("processes", "wall_s", "cpu_s", "peak_mib", "own_mib", "disk_mb")),
         1e3 * one["cpu_s"] / run["size"]]
        for name, one in run["stages"].items()
    ]  # fmt: skip
    title = f"{run['size']:,} crystals"
    if "atoms" in run:
        title += (
            f": {run['atoms']:,} atoms, {run['edges']:,} edges, {run['shards']} shards, "
            f"{run['duplicates']} duplicates, {run['rejected']} rejected"
        )
    heads = ["stage", "processes", "wall, s", "CPU, s", "largest process, MiB", "of it own, MiB"]
    return table(title, [*heads, "disk, MB", "CPU, ms a crystal"], rows)


def missing(run: dict[str, Any], whole: dict[str, Any]) -> list[str]:
    """A line on the stages that this size lacks."""
    names = [name for name in whole["stages"] if name not in run["stages"]]
    return [f"Not run at {run['size']:,}: {'; '.join(names)}."] if names else []


def alone_table(runs: list[dict[str, Any]]) -> str:
    """split, leakage and one part of the graphs, of tables made without the stages before."""
    rows = [
        [
            f"{name}, {run['size']:,}",
            *(one[key] for key in ("wall_s", "cpu_s", "peak_mib", "own_mib")),
        ]
        for run in runs
        for name, one in run["stages"].items()
    ]
    title = "Stages alone, of tables that no stage has made (the space groups are drawn)"
    return table(title, ["", "wall, s", "CPU, s", "largest process, MiB", "of it own, MiB"], rows)


def failures(numbers: dict[str, Any]) -> list[str]:
    """A line for each stage that is not flat or not linear."""
    lines = []
    runs = [run for run in numbers["runs"] if run["stages"]]
    runs += [{**run, "alone": True} for run in numbers["alone"]]
    for run in runs:
        for name, one in run["stages"].items():
            if one["own_mib"] > MAX_MIB:
                lines.append(f"- **{name} of {run['size']:,}: {one['own_mib']:.0f} MiB.**")
    for kind in (False, True):
        of_kind = [run for run in runs if run.get("alone", False) is kind]
        for small, large in pairwise(of_kind):
            for name, one in large["stages"].items():
                if name not in small["stages"] or name == "one part of the graphs":
                    continue
                ratio = (one["cpu_s"] / large["size"]) / (
                    small["stages"][name]["cpu_s"] / small["size"]
                )
                if ratio > MAX_GROWTH:
                    lines.append(
                        f"- **{name}: {ratio:.1f} times the CPU time a crystal at {large['size']:,}.**"
                    )
    return lines


def verdict(numbers: dict[str, Any]) -> list[str]:
    """The failures, or that there is none, with the sizes that were run."""
    sizes = ", ".join(f"{run['size']:,}" for run in numbers["runs"])
    alone = ", ".join(f"{run['size']:,}" for run in numbers["alone"])
    return failures(numbers) or [
        f"No process of the stages above had more than {MAX_MIB} MiB of its own, and of those "
        f"run at two sizes none took more than {MAX_GROWTH} times the CPU time a crystal of the smaller "
        f"one (sizes: {sizes or 'none'}; alone: {alone or 'none'})."
    ]


def estimate(numbers: dict[str, Any]) -> str:
    """100 million crystals as those of the MEGNet benchmark, from figures a crystal."""
    original, *_, run = json.loads(SHARDS_FILE.read_text())["pipeline"]
    reading = json.loads(SHARDS_FILE.read_text())["reading"]
    cpu_ms = {row["stage"]: 1e3 * row["cpu_s"] / run["crystals"] for row in run["stages"]}
    largest = [one for one in numbers["runs"] if "clean" in one["stages"]][-1]
    for name in ("clean", "inspect", "split", "leakage"):
        cpu_ms[name] = 1e3 * largest["stages"][name]["cpu_s"] / largest["size"]
    for one in numbers["alone"][-1:]:
        for name, stage in one["stages"].items():
            if name not in cpu_ms:
                continue
            cpu_ms[name] = 1e3 * stage["cpu_s"] / one["size"]
    rows = [
        [name, ms, LARGE * ms / 3.6e6]
        for name, ms in cpu_ms.items()
        if name
        in ("crystals", "clean", "inspect", "split", "leakage", "graphs, parts", "graphs, manifest")
    ]
    share = LARGE / run["crystals"]
    return "\n\n".join(
        [
            table(
                f"On paper: {LARGE:,} crystals",
                ["stage", "CPU, ms a crystal", "CPU, hours"],
                rows,
            ),
            f"Shards: {share * run['shards']:,.0f}, "
            f"{LARGE * original['shard_bytes_per_crystal'] / 1e9:,.0f} GB. "
            f"Jobs for their parts: {LARGE / 8192:,.0f}. Decoded for training: "
            f"{LARGE * reading['bytes_per_crystal'] / 1e12:,.1f} TB. crystals and graphs are those of the "
            f"MEGNet crystals at 8.4 Å ([shards](shards.md)), the other stages of the small cells above.",
        ]
    )
