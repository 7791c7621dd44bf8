"""Is a model with tied frames a function of the crystal, and what does that cost? One run.

    python benchmarks/ties.py [--model results/models/seed-0]

Describes each crystal anew (order of atoms, rotation, supercell, basis of the lattice, all at once)
and prints how far the outputs of these descriptions lie apart, with frame_ties average and first, and
how far average and first lie apart; then how many atoms and crystals have ties, and the time of both
side by side. Writes benchmarks/results/ties.json and docs/measured/ties.md (``--page``: the page alone, from
the results that are there). The network is the default one with random weights unless a model
directory is given. Crystals: a mirror-site crystal, the high-symmetry files and a seeded draw of the
Materials Project set in ../shared/data.
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from default_run import machine
from speed_cases import CUTOFF, SHARED, Sample, log, mp_megnet, new_network
from speed_measures import with_ties

from dglframer.attention.cpu.attention import CpuAttention, RowOfHeads
from dglframer.attention.gaussians import cosine_functions
from dglframer.common.device import settle_mkl
from dglframer.data.sources.structure_files import read_structure
from dglframer.graphs.batch import batch_graphs
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.networks.model_directory import load_model
from dglframer.structures.crystal import Crystal, validate
from dglframer.structures.periodic_graph import build_graph

RESULTS_FILE = Path(__file__).parent / "results" / "ties.json"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "measured" / "ties.md"
LARGEST = 20  # atoms; a supercell has twice as many
SEED = 0
TIES = ("average", "first")


def mirror_site() -> Crystal:
    """Space group Pm: two images tie for the first axis, and a mirror, no rotation, relates them."""
    lattice = np.array([[6.1, 0, 0], [1.4, 6.6, 0], [0, 0, 7.3]])
    positions = np.array([[0, 0, 0], [1.1, 0.7, 1.5], [1.1, 0.7, -1.5], [2.7, 3.9, 0]])
    numbers = np.array([22, 8, 8, 38], np.int16)
    return Crystal("Pm", numbers, lattice, positions @ np.linalg.inv(lattice), {})


def high_symmetry_files() -> list[Crystal]:
    """The structure files whose space group is at least tetragonal, of at most LARGEST atoms."""
    facts = json.loads((SHARED / "structures" / "expected.json").read_text(encoding="utf-8"))
    names = [
        name
        for name, fact in facts.items()
        if (fact.get("spacegroup_symprec_0.01") or 0) >= 75 and fact["n_sites"] <= LARGEST
    ]
    records = [read_structure(SHARED / "structures" / name) for name in sorted(names)]
    return [validate(record) for record in records]


def descriptions(crystal: Crystal, rng: np.random.Generator) -> list[Crystal]:
    """The same crystal as given, permuted, rotated, doubled, in another basis, and all of it."""
    as_given = crystal.numbers_N, crystal.lattice_33, crystal.coords_N3
    ways = [permuted, rotated, doubled, rebased]
    everything = as_given
    for way in ways:
        everything = way(*everything, rng)
    changed = [as_given, *(way(*as_given, rng) for way in ways), everything]
    return [Crystal(crystal.id, *description, {}) for description in changed]


def permuted(numbers, lattice, frac, rng):
    order = rng.permutation(len(numbers))
    return numbers[order], lattice, frac[order]


def rotated(numbers, lattice, frac, rng):
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return numbers, lattice @ (rotation * np.linalg.det(rotation)), frac


def doubled(numbers, lattice, frac, rng):
    times = np.eye(3)[rng.integers(3)] + 1
    shifts = np.array(list(itertools.product(*(range(int(n)) for n in times))))
    larger = ((frac[None] + shifts[:, None]) / times).reshape(-1, 3)
    return np.tile(numbers, len(shifts)), lattice * times[:, None], larger


def rebased(numbers, lattice, frac, rng):
    basis = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1]])
    return numbers, basis @ lattice, frac @ np.linalg.inv(basis)


@torch.no_grad()
def spreads(network: CrystalFramer, cutoff: float, crystals: list[Crystal]) -> dict[str, Any]:
    """Of each crystal: range of the outputs over its descriptions, and average against first."""
    rng = np.random.default_rng(SEED)
    dtype = next(network.parameters()).dtype
    spread: dict[str, list[float]] = {ties: [] for ties in TIES}
    apart = []
    for crystal in crystals:
        graphs = [build_graph(one, cutoff) for one in descriptions(crystal, rng)]
        outputs = {
            ties: with_ties(network, ties)(batch_graphs(graphs, dtype))[:, 0] for ties in TIES
        }
        for ties in TIES:
            spread[ties].append(float(np.ptp(outputs[ties].numpy())))
        apart.append(float((outputs["average"] - outputs["first"])[0].abs()))
    return {"spread": spread, "average_minus_first": apart}


@torch.no_grad()
def tied_sites(network: CrystalFramer, sample: Sample) -> dict[str, Any]:
    """How many atoms and crystals look along more than one axis anywhere in the first block."""
    batch = batch_graphs(sample.graphs)
    attention = CpuAttention(batch, with_ties(network, "average").settings)
    x_NW = network.embedding(batch.numbers_N - 1)
    block = network.blocks[0].attention
    q, k, v = (
        layer(x_NW).unflatten(1, (network.settings.heads, -1))
        for layer in (block.query, block.key, block.value)
    )
    row = RowOfHeads(attention, 0, q, k, v, block.decay(q))
    functions = 3 * cosine_functions(attention.settings, q.dtype)
    sums = q.new_empty(row.heads, len(q), attention.settings.distance_bins + functions)
    row.forward(sums, searches=True)
    counts = [np.diff(ptr) for _, (ptr, _, _) in row.axes]
    shares = [rows[: 32 * ptr[-1]].reshape(-1, 4, 8)[:, 3] for _, (ptr, rows, _) in row.axes]
    several_N = torch.from_numpy(np.concatenate(counts)) > 3
    crystal_N = torch.repeat_interleave(torch.arange(len(batch.atoms_B)), batch.atoms_B)
    return {
        "atoms": len(several_N),
        "atoms_with_several_views": int(several_N.sum()),
        "crystals_with_several_views": len(crystal_N[several_N].unique()),
        "axes_per_lane": float((np.concatenate(shares) > 0).sum() / (len(several_N) * 8 * 3)),
    }


def timings(network: CrystalFramer, sample: Sample, rounds: int) -> dict[str, Any]:
    """Median milliseconds per crystal, both treatments in turn in every round."""
    batch = batch_graphs(sample.graphs)
    seconds: dict[str, list[float]] = {f"{ties} {mode}": [] for ties in TIES for mode in MODES}
    for _ in range(rounds + 1):
        for ties in TIES:
            for mode in MODES:
                started = time.perf_counter()
                with torch.set_grad_enabled(mode == "training"):
                    output = with_ties(network, ties)(batch)
                    if mode == "training":
                        network.zero_grad()
                        output.abs().mean().backward()
                seconds[f"{ties} {mode}"].append(time.perf_counter() - started)
    return {
        name: 1000 * statistics.median(times[1:]) / len(sample.graphs)
        for name, times in seconds.items()
    }


MODES = ("inference", "training")


def measure(network: CrystalFramer, cutoff: float, count: int, rounds: int) -> dict[str, Any]:
    """Everything, for the three groups of crystals."""
    small = mp_megnet(8 * count, SEED)
    if small is None:
        raise SystemExit(f"needs the Materials Project set in {SHARED}")
    small.crystals = [c for c in small.crystals if len(c.numbers_N) <= LARGEST][:count]
    groups = {
        "mirror site": [mirror_site()],
        "high-symmetry files": high_symmetry_files(),
        f"{count} of mp_megnet": small.crystals,
    }
    outputs = {}
    for dtype in (torch.float64, torch.float32):
        for name, crystals in groups.items():
            log(f"{name}, {dtype}: {len(crystals)} crystals in 6 descriptions")
            outputs[f"{name}, {str(dtype).removeprefix('torch.')}"] = {
                "crystals": [crystal.id for crystal in crystals],
                **spreads(network.to(dtype), cutoff, crystals),
            }
    small.build()
    log("sites and times")
    network = network.float()
    return {
        "outputs": outputs,
        "sites": tied_sites(network, small),
        "milliseconds_per_crystal": timings(network, small, rounds),
    }


def page(numbers: dict[str, Any]) -> str:
    """docs/measured/ties.md."""
    sites, times = numbers["sites"], numbers["milliseconds_per_crystal"]
    rows = []
    for name, group in numbers["outputs"].items():
        spread, apart = group["spread"], np.array(group["average_minus_first"])
        rows.append(
            f"| {name} | {len(apart)} | {max(spread['average']):.1e} | {max(spread['first']):.1e} | "
            f"{np.median(apart):.1e} | {apart.max():.1e} | {(apart > 1e-4).mean():.0%} |"
        )
    share = {mode: times[f"average {mode}"] / times[f"first {mode}"] for mode in MODES}
    lines = [
        "# Tied frames, measured",
        "",
        "Written by `python benchmarks/ties.py`. [CrystalFramer](../models/crystalframer.md), §6, explains "
        "ties. Each crystal is described in six ways (as given, atoms permuted, rotated, as a supercell, "
        "in another basis of its lattice, all at once). *Spread* is the largest range of a crystal's "
        "outputs over the six; outputs are in units of the training set's standard deviation "
        f"({numbers['network']}).",
        "",
        "| crystals | number | largest spread, `average` | largest spread, `first` | "
        "average − first, median | largest | above 10⁻⁴ |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"In the first block {sites['atoms_with_several_views'] / sites['atoms']:.0%} of the atoms of "
        f"the Materials Project sample, in {sites['crystals_with_several_views']} of its crystals, "
        f"have more than one frame in some head, although axes with the same distribution of cosines are "
        f"merged; on average there are {sites['axes_per_lane']:.2f} axes for each axis of a single frame.",
        "",
        f"`average` takes {share['inference']:.2f} times the time of `first` in inference and "
        f"{share['training']:.2f} times in training (forward and backward), on that sample in one "
        f"batch: {times['average inference']:.1f} and {times['first inference']:.1f} ms, "
        f"{times['average training']:.1f} and {times['first training']:.1f} ms per crystal.",
        "",
        f"Machine: {numbers['machine']}.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, help="a model directory in place of random weights")
    parser.add_argument("--crystals", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5, help="of the timing")
    parser.add_argument("--out", type=Path, default=RESULTS_FILE)
    parser.add_argument("--page", action="store_true", help="only write the page again")
    args = parser.parse_args()
    if not args.page:
        settle_mkl()
        if args.model:
            model = load_model(args.model)
            network, cutoff, name = model.network, model.cutoff, "a model of the default run"
        else:
            network, cutoff, name = new_network(), CUTOFF, "a network with random weights"
        numbers = {
            "network": name,
            "machine": machine(),
            **measure(network, cutoff, args.crystals, args.rounds),
        }
        args.out.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    numbers = json.loads(args.out.read_text(encoding="utf-8"))
    if args.out == RESULTS_FILE:
        PAGE.write_text(page(numbers), encoding="utf-8")
    print(page(numbers))


if __name__ == "__main__":
    main()
