"""Steps on a CPU by the width of its vectors, by threads, and beside other work. One run.

    python benchmarks/lanes.py [--rounds 7]

Every width that the processor has (16 lanes: AVX-512, 8: AVX2, 4: SSE or NEON, 0: plain numbers) runs in a
process of its own, on one thread; then one and two threads, alone and while every core is busy with a loop
that never sleeps. Calls go to each process in turn. Writes benchmarks/results/lanes.json and the last
tables of docs/measured/speed.md. The first call compiles the loops of a width, which takes a minute each.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from commits import HERE, Tree
from default_run import machine
from pages import publish

from dglframer.attention.cpu.simd import LANES

RESULTS_FILE = HERE / "benchmarks" / "results" / "lanes.json"
PART = (
    HERE / "docs" / "measured" / "speed.md",
    "<!-- lanes: written by benchmarks/lanes.py -->",
    "<!-- end of lanes -->",
)
CASES = ("fast", "fast, frame none")
SAMPLES = ("jarvis_like", "mp_megnet")
BATCH = 64
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
    """Medians of wall milliseconds per crystal: a row for each sample, case and mode."""
    rows = []
    for sample in SAMPLES:
        for case in CASES:
            for mode in MODES:
                call = case, sample, mode, BATCH
                times = [
                    {name: one.run(*call)[0] for name, one in trees.items()}
                    for _ in range(rounds + 1)
                ]
                medians = {name: statistics.median(t[name] for t in times[1:]) for name in trees}
                rows.append({"sample": sample, "case": case, "mode": mode, "ms": medians})
                print(rows[-1], flush=True)
    return rows


def measure(args: argparse.Namespace) -> dict[str, Any]:
    widths = [lanes for lanes in (16, 8, 4, 0) if lanes <= LANES]
    by_width = {str(w): Tree(HERE, 1, DGLFRAMER_SIMD_LANES=str(w)) for w in widths}
    lanes = measured(by_width, args.rounds)
    for tree in by_width.values():
        tree.process.kill()
    cores = os.cpu_count() or 1
    by_threads = {str(count): Tree(HERE, count) for count in (1, 2)}
    alone = measured(by_threads, args.rounds)
    with busy_cores(cores):
        busy = measured(by_threads, args.rounds)
    return {"machine": machine(), "batch": BATCH, "lanes": lanes, "threads": alone, "busy": busy}


def table(rows: list[dict[str, Any]], heads: dict[str, str]) -> list[str]:
    lines = [
        f"| sample | case | mode | {' | '.join(heads.values())} |",
        "|---" * (3 + len(heads)) + "|",
    ]
    for row in rows:
        cells = " | ".join(f"{row['ms'][name]:.3g} ms" for name in heads)
        lines.append(f"| {row['sample']} | {row['case']} | {row['mode']} | {cells} |")
    return lines


def rendered(results: dict[str, Any]) -> str:
    names = {"16": "16 lanes", "8": "8 lanes", "4": "4 lanes", "0": "plain numbers"}
    lanes = {key: name for key, name in names.items() if key in results["lanes"][0]["ms"]}
    threads = {"1": "1 thread", "2": "2 threads"}
    return "\n".join(
        [
            f"Measured by benchmarks/lanes.py on {results['machine']}: ms per crystal, batches of "
            f"{results['batch']}, medians.",
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
        ]
    )


if __name__ == "__main__":
    options = {"--rounds": {"type": int, "default": 7}}
    publish(__doc__ or "", options, measure, RESULTS_FILE, PART, rendered)
