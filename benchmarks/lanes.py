"""Steps on a CPU by the width of its vectors, by threads, beside other work and beside an older commit.

    git worktree add --detach ../before COMMIT
    python benchmarks/lanes.py [--rounds 5] [--before ../before]

Every width that the processor has (16 lanes: AVX-512, 8: AVX2, 4: SSE or NEON, 0: plain numbers) runs in a
process of its own, on one thread; then one and two threads, alone and while every core is busy with a loop
that never sleeps; then the older commit and this one, on two threads. Calls go to each process in turn.
Writes benchmarks/results/lanes.json and the last tables of docs/measured/speed.md. The first call compiles
the loops of a width, which takes a minute each.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from commits import HERE, Tree
from default_run import machine
from pages import publish

from dglframer.attention.cpu.simd import LANES
from dglframer.common.own_code import commit

RESULTS_FILE = HERE / "benchmarks" / "results" / "lanes.json"
PART = (
    HERE / "docs" / "measured" / "speed.md",
    "<!-- lanes: written by benchmarks/lanes.py -->",
    "<!-- end of lanes -->",
)
CASES = ("fast", "fast, frame none")
SAMPLES = ("jarvis_like", "mp_megnet")
BATCHES = (64, 256)
MODES = ("train", "infer")


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """So many processes that compute without a pause."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def measured(trees: dict[str, Tree], rounds: int) -> list[dict[str, Any]]:
    """Medians of wall milliseconds per crystal: a row for each sample, case, mode and batch."""
    rows = []
    for sample, case, mode, batch in product(SAMPLES, CASES, MODES, BATCHES):
        call = case, sample, mode, batch
        times = [
            {name: one.run(*call)[0] for name, one in trees.items()} for _ in range(rounds + 1)
        ]
        medians = {name: statistics.median(t[name] for t in times[1:]) for name in trees}
        rows.append({"sample": sample, "case": case, "mode": mode, "batch": batch, "ms": medians})
        print(rows[-1], flush=True)
    return rows


def measure(args: argparse.Namespace) -> dict[str, Any]:
    widths = [lanes for lanes in (16, 8, 4, 0) if lanes <= LANES]
    by_width = {str(w): Tree(HERE, 1, DGLFRAMER_SIMD_LANES=str(w)) for w in widths}
    lanes = measured(by_width, args.rounds)
    end(by_width)
    by_threads = {str(count): Tree(HERE, count) for count in (1, 2)}
    alone = measured(by_threads, args.rounds)
    with busy_cores(os.cpu_count() or 1):
        busy = measured(by_threads, args.rounds)
    end(by_threads)
    found = {"machine": machine(), "lanes": lanes, "threads": alone, "busy": busy}
    if args.before:
        trees = {"before": Tree(args.before.resolve(), 2), "now": Tree(HERE, 2)}
        found |= {"commit": commit(args.before), "before": measured(trees, args.rounds)}
        end(trees)
    return found


def end(trees: dict[str, Tree]) -> None:
    for tree in trees.values():
        tree.process.kill()


def table(rows: list[dict[str, Any]], heads: dict[str, str]) -> list[str]:
    lines = [
        f"| sample | case | mode | batch | {' | '.join(heads.values())} |",
        "|---" * (4 + len(heads)) + "|",
    ]
    for row in rows:
        cells = " | ".join(f"{row['ms'][name]:.3g} ms" for name in heads)
        lines.append(
            f"| {row['sample']} | {row['case']} | {row['mode']} | {row['batch']} | {cells} |"
        )
    return lines


def ratios(results: dict[str, Any]) -> list[str]:
    """The table of an older commit beside this one, if there is one."""
    if "before" not in results:
        return []
    heads = {"before": f"commit {results['commit']}", "now": "now"}
    lines = table(results["before"], heads)
    lines[0] += " times faster |"
    lines[1] += "---|"
    for k, row in enumerate(results["before"], start=2):
        lines[k] += f" {row['ms']['before'] / row['ms']['now']:.1f} |"
    return ["", "**Beside an older commit, two threads**", "", *lines]


def rendered(results: dict[str, Any]) -> str:
    names = {"16": "16 lanes", "8": "8 lanes", "4": "4 lanes", "0": "plain numbers"}
    lanes = {key: name for key, name in names.items() if key in results["lanes"][0]["ms"]}
    threads = {"1": "1 thread", "2": "2 threads"}
    return "\n".join(
        [
            f"Measured by benchmarks/lanes.py on {results['machine']}: wall ms per crystal, medians.",
            "",
            "**Width of the vectors, one thread**",
            "",
            *table(results["lanes"], lanes),
            "",
            "**Threads**",
            "",
            *table(results["threads"], threads),
            "",
            "**Threads, while a loop that never sleeps runs on every core**",
            "",
            *table(results["busy"], threads),
            *ratios(results),
        ]
    )


if __name__ == "__main__":
    options = {
        "--rounds": {"type": int, "default": 5},
        "--before": {"type": Path, "help": "checkout of an older commit"},
    }
    publish(__doc__ or "", options, measure, RESULTS_FILE, PART, rendered)
