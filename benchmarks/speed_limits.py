"""What bounds the speed, and what it costs in accuracy: parts of `speed.py`.

**Counted work** of the fast path, multiplications and additions counted singly, exponentials apart.
H heads, W = H D features, L = 3 H lanes (0 without frames), K0 distance Gaussians, K cosine
Gaussians, Q Chebyshev functions, F feed-forward features; every edge within the cutoff is counted,
also those that are passed over.

- per edge and block, forward:  4 W (q.k and alpha v) + 15 H (decay, softmax, frames) + 2 H K0
  (distance sums) + L (3 Q + 6) (cosines and the recurrence of T_q)
- per edge and block, backward: 8 W (gradients of q, k, v, alpha) + 10 H + 2 H K0 + L (3 Q + 6)
- per atom and block, forward:  8 W^2 (q, k, v, output) + 4 W F + 2 W K0 + 6 W K (projections)
  + 2 L Q K (from functions to Gaussians); backward twice that
- exponentials: K0 per edge and batch, H per edge and block

**Counted bytes** that must pass through memory per edge if caches keep an atom's own data:
forward 4 (K0 + 8 H + 10), backward 4 (2 K0 + 6 H + 8) a block, and 4 (2 K0 + 8) a batch; per atom
and block 4 x 12 W forward, twice that backward. float32 throughout.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any
from unittest.mock import patch

import torch
from speed_cases import CUTOFF, Sample, log

import dglframer.attention as attention_door
from dglframer.attention.constants import negligible_gap
from dglframer.attention.cpu import attention as cpu_attention
from dglframer.attention.gaussians import chebyshev_terms
from dglframer.attention.reference.attention import ReferenceAttention
from dglframer.config.networks import CrystalFramerConfig, symmetry_group
from dglframer.graphs.batch import batch_graphs
from dglframer.graphs.reduction import computed_sizes
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.structures.crystal import Crystal
from dglframer.structures.periodic_graph import build_graph

LONG_CUTOFF = 14.0  # 10 r0, 7 times the largest sigma: beyond it weights are below 2e-11
CUTOFFS = (CUTOFF, 11.88)  # 6 r0, and 6 times the largest sigma
LEAST_WEIGHTS = (10.0, 14.0, 18.5, 23.0)  # -log of the relative weight that is passed over


def work(model: CrystalFramerConfig, atoms: int, edges: int, mode: str) -> dict[str, float]:
    """GFLOP, Gexp and GB of a step on a batch of so many atoms and edges, by the formulas above."""
    heads, width, bins, angles = model.heads, model.width, model.distance_bins, model.angle_bins
    lanes = 3 * heads if model.frame != "none" else 0
    terms = chebyshev_terms(model, torch.float32)
    train = mode == "train"
    sums = 2 * heads * bins + lanes * (3 * terms + 6)
    per_edge = 4 * width + 15 * heads + sums
    per_edge += (8 * width + 10 * heads + sums) if train else 0
    per_atom = 8 * width**2 + 4 * width * model.feedforward + 2 * width * bins
    per_atom += 6 * width * angles + 2 * lanes * terms * angles if lanes else 0
    edge_bytes = 4 * (bins + 8 * heads + 10) + (4 * (2 * bins + 6 * heads + 8) if train else 0)
    passes = 3 if train else 1
    blocks = model.blocks
    return {
        "gflop": blocks * (edges * per_edge + passes * atoms * per_atom) / 1e9,
        "gexp": edges * (bins + blocks * heads) / 1e9,
        "gbyte": (
            edges * (blocks * edge_bytes + 4 * (2 * bins + 8))
            + blocks * atoms * 48 * width * passes
        )
        / 1e9,
    }


def machine_peaks(quick: bool) -> dict[str, float]:
    """Matrix product and copy of this machine, on the threads that torch has: medians of 7."""
    size, length = (256, 2**20) if quick else (2048, 2**26)
    a, b, c = (torch.rand(size, size) for _ in range(3))
    source, target = torch.rand(length), torch.empty(length)
    product = median_seconds(lambda: torch.mm(a, b, out=c))
    copy = median_seconds(lambda: target.copy_(source))
    exponentials = source[: length // 16]
    exp = median_seconds(lambda: torch.exp(exponentials, out=target[: length // 16]))
    return {
        "sgemm_gflops": 2 * size**3 / product / 1e9,
        "copy_gbyte_per_s": 8 * length / copy / 1e9,
        "gexp_per_s": len(exponentials) / exp / 1e9,
    }


def median_seconds(run: Callable[[], object], rounds: int = 7) -> float:
    """Median wall time; one call before is not counted."""
    times = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def reached(
    rows: list[dict[str, Any]],
    samples: list[Sample],
    peaks: dict[str, float],
    model: CrystalFramerConfig,
) -> list[dict[str, Any]]:
    """Counted work per second of the fast path, and its share of the machine's peaks."""
    results = []
    for row in rows:
        if row["case"] != "fast" or row["batch"] == 1:
            continue
        sample = next(sample for sample in samples if sample.name == row["sample"])
        chosen = [sample.graphs[index] for index in sample.spread(row["crystals"])]
        sizes = [computed_sizes(graph, symmetry_group(model)) for graph in chosen]
        atoms, edges = (sum(counts) for counts in zip(*sizes, strict=True))
        needed = work(model, atoms, edges, row["mode"])
        seconds = row["ms_per_crystal"] * row["crystals"] / 1e3
        results.append(
            {
                **{key: row[key] for key in ("sample", "mode", "batch")},
                **needed,
                "gflops": needed["gflop"] / seconds,
                "share_of_sgemm": needed["gflop"] / seconds / peaks["sgemm_gflops"],
                "share_of_copy": needed["gbyte"] / seconds / peaks["copy_gbyte_per_s"],
                "share_of_exp": needed["gexp"] / seconds / peaks["gexp_per_s"],
            }
        )
    return results


@contextmanager
def path(compiled: bool, least: float | None = None) -> Iterator[None]:
    """Choose the compiled or the reference path, and the weights that are passed over."""
    with ExitStack() as patches:
        if not compiled:
            patches.enter_context(patch.object(attention_door, "BACKENDS", (ReferenceAttention,)))
        if least is not None:
            patches.enter_context(
                patch.object(cpu_attention, "negligible_gap", lambda dtype: least)
            )
        yield


@torch.no_grad()
def outputs(
    network: CrystalFramer, crystals: list[Crystal], cutoff: float, dtype: torch.dtype
) -> torch.Tensor:
    """Predictions in normalised units, float64, a few crystals at a time."""
    parts = []
    for first in range(0, len(crystals), 5):
        graphs = [build_graph(crystal, cutoff) for crystal in crystals[first : first + 5]]
        parts.append(network(batch_graphs(graphs, dtype)).double())
    return torch.cat(parts)


def accuracy(
    networks: dict[str, CrystalFramer], crystals: list[Crystal], long_cutoff: float = LONG_CUTOFF
) -> list[dict[str, Any]]:
    """Errors of the fast path against the reference path in float64 with a long cutoff."""
    variants: list[tuple[float, torch.dtype, float | None]] = []
    variants += [(cutoff, dtype, None) for cutoff in CUTOFFS
                 for dtype in (torch.float64, torch.float32)]  # fmt: skip
    variants += [(CUTOFFS[-1], torch.float64, least) for least in LEAST_WEIGHTS]
    rows = []
    for weights, network in networks.items():
        log(f"accuracy, {weights} weights")
        exact_network = deepcopy(network).double().eval()
        with path(compiled=False):
            exact = outputs(exact_network, crystals, long_cutoff, torch.float64)
        for cutoff, dtype, least in variants:
            used = exact_network if dtype == torch.float64 else network.eval()
            with path(compiled=True, least=least):
                error = (outputs(used, crystals, cutoff, dtype) - exact).abs()
            rows.append(
                {
                    "weights": weights,
                    "cutoff": cutoff,
                    "dtype": str(dtype).removeprefix("torch."),
                    "least_weight": least or negligible_gap(dtype),
                    "max_error": error.max().item(),
                    "median_error": error.median().item(),
                    "mean_error": error.mean().item(),
                    "output_std": exact.std(0).mean().item(),
                    "crystals": len(crystals),
                }
            )
        network.train()
    return rows
