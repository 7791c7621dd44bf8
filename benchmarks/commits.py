"""Steps of this checkout beside those of other commits, in turn, in one run.

    git worktree add ../before COMMIT
    python benchmarks/commits.py ../before [--threads 2]

prints milliseconds per crystal (medians of wall time) and how many times faster this checkout is.
Every tree runs in a process of its own with its own `benchmarks/speed_cases.py`; a call goes to each
in turn, so that what else the machine does falls on all alike.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]

# What a tree's process does. It must run with the modules of older commits, too.
SERVER = """
import json, os, sys
tree, threads = sys.argv[1], int(sys.argv[2])
sys.path[:0] = [tree, tree + "/benchmarks"]
import torch
torch.set_num_threads(threads)
from speed_cases import jarvis_like, mp_megnet, new_network, our_cases
samples = {"jarvis_like": jarvis_like(256, 0), "mp_megnet": mp_megnet(256, 0)}
samples = {name: sample for name, sample in samples.items() if sample}
for sample in samples.values():
    sample.build()
cases = {case.name: case for case in our_cases(new_network(), new_network("none"))}
for line in sys.stdin:
    case, name, mode, batch = json.loads(line)
    sample = samples[name]
    batches = [[i] for i in sample.spread(16)] if batch == 1 else [sample.spread(batch)]
    before = os.times()
    seconds = cases[case].run(sample, mode, batches)
    after = os.times()
    cpu = after.user + after.system - before.user - before.system
    print(json.dumps([seconds, cpu, sum(map(len, batches))]), flush=True)
"""


class Tree:
    """A checkout and the process that runs its steps; ``variables`` of its environment besides."""

    def __init__(self, path: Path, threads: int, **variables: str):
        self.path = path
        environment = {**os.environ, "PYTHONPATH": str(path), "OMP_WAIT_POLICY": "PASSIVE"}
        environment |= {"OMP_NUM_THREADS": str(threads), **variables}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(path), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=path,
        )  # fmt: skip

    def run(self, *call: Any) -> list[float]:
        """Wall and CPU milliseconds per crystal of one call."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(call) + "\n")
        self.process.stdin.flush()
        wall, cpu, crystals = json.loads(self.process.stdout.readline())
        return [1e3 * wall / crystals, 1e3 * cpu / crystals]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trees", nargs="+", type=Path, help="checkouts of other commits")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, nargs="+", default=[64])
    parser.add_argument("--case", nargs="+", default=["fast", "fast, frame none"])
    parser.add_argument("--sample", nargs="+", default=["jarvis_like", "mp_megnet"])
    args = parser.parse_args()
    trees = [Tree(path.resolve(), args.threads) for path in [*args.trees, HERE]]
    print(f"{args.threads} threads; ms per crystal, wall (CPU); the last column is this checkout")
    for sample in args.sample:
        for case in args.case:
            for batch in args.batch:
                for mode in ("train", "infer"):
                    measure(trees, (case, sample, mode, batch), args.rounds)


def measure(trees: list[Tree], call: tuple[Any, ...], rounds: int) -> None:
    """Print one line: the medians of every tree, and the ratio of each to this checkout."""
    times = [[tree.run(*call) for tree in trees] for _ in range(rounds + 1)][1:]
    medians = [
        [statistics.median(row[i][k] for row in times) for k in (0, 1)] for i in range(len(trees))
    ]
    cells = "  ".join(f"{wall:7.3f} ({cpu:7.3f})" for wall, cpu in medians)
    ratios = "  ".join(f"{wall / medians[-1][0]:.2f}x" for wall, _ in medians[:-1])
    print(f"{call!s:48}  {cells}  {ratios}", flush=True)


if __name__ == "__main__":
    main()
