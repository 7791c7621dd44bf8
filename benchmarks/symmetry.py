"""Equivalent atoms computed once: how many there are, how far outputs change, what time it takes. One run.

    python benchmarks/symmetry.py --models MODEL [MODEL ...] [--every 1] [--timed 256]

Reads every row of the files in ../shared/data (with ``--every K`` each K-th, and the largest cells), finds
the orbits, and computes each crystal that has equivalent atoms twice in float64: atom by atom, and one
atom of each orbit. The deviation is in standard deviations of the target. Crystals without equivalent
atoms are computed alike. Then training steps and predictions of ``--timed`` crystals of a file, side by
side, in float32 on one thread. Writes benchmarks/results/symmetry.json after each file.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from default_run import machine
from speed_cases import CUTOFF, SHARED, UNMOVED, log, step

from dglframer.common.device import settle_mkl
from dglframer.common.errors import Rejected
from dglframer.config.networks import SymmetryGroup, symmetry_group
from dglframer.graphs.batch import batch_graphs
from dglframer.graphs.reduction import computed_sizes, labels_of
from dglframer.networks.base import PropertyNetwork
from dglframer.networks.model_directory import load_model
from dglframer.structures.crystal import Crystal, Record, validate
from dglframer.structures.orbits import EDGE_TOLERANCE, TOLERANCE, find_orbits
from dglframer.structures.periodic_graph import PeriodicGraph, build_graph
from dglframer.training.optimiser import optimizers_for

RESULTS_FILE = Path(__file__).parent / "results" / "symmetry.json"
FILES = ("jarvis_dft_3d", "mp_elasticity", "mp_megnet", "qmof_2500")
LARGEST = 20  # cells of each file that are always among the rows
EDGES_AT_ONCE = 300_000
AIM = 1e-5  # of a standard deviation


def crystals_of(name: str, every: int) -> list[Crystal]:
    """Each ``every``-th valid row of a file, and its largest cells."""
    columns = ["material_id", "atomic_numbers", "lattice", "frac_coords"]
    rows = pq.read_table(SHARED / f"{name}.parquet", columns=columns).to_pylist()
    by_size = sorted(range(len(rows)), key=lambda k: -len(rows[k]["atomic_numbers"]))
    found = []
    for k in sorted({*range(0, len(rows), every), *by_size[:LARGEST]}):
        row = rows[k]
        lattice_33 = np.reshape(row["lattice"], (3, 3))
        frac_N3 = np.reshape(row["frac_coords"], (-1, 3))
        try:
            found.append(
                validate(Record(row["material_id"], row["atomic_numbers"], lattice_33, frac_N3))
            )
        except Rejected as reason:
            log(f"{row['material_id']}: {reason}")
    return found


def orbit_counts(crystals: list[Crystal]) -> dict[str, Any]:
    """Atoms for each that is computed, the orbits that are taken apart, and the time of a search."""
    sizes = np.zeros(3, np.int64)
    apart = 0
    started = time.process_time()
    found = [find_orbits(one.numbers_N, one.lattice_33, one.coords_N3) for one in crystals]
    seconds = time.process_time() - started
    for crystal, orbits in zip(crystals, found, strict=True):
        graph = build_graph(crystal, CUTOFF)
        sizes += len(graph.numbers_N), *(computed_sizes(graph, g)[0] for g in ("proper", "all"))
        apart += not np.array_equal(orbits.every_N, graph.orbits.every_N)
    return {
        "crystals": len(crystals),
        "largest_cell": max(len(one.numbers_N) for one in crystals),
        "atoms_per_computed_atom": {"proper": sizes[0] / sizes[1], "all": sizes[0] / sizes[2]},
        "crystals_with_orbits_taken_apart": apart,
        "search_ms_per_crystal": 1e3 * seconds / len(crystals),
    }


def symmetric(crystals: list[Crystal], group: SymmetryGroup) -> Iterator[list[PeriodicGraph]]:
    """Batches of the graphs of the crystals that have equivalent atoms."""
    batch: list[PeriodicGraph] = []
    edges = 0
    for crystal in crystals:
        graph = build_graph(crystal, CUTOFF)
        if len(np.unique(labels_of(graph.orbits, group))) == len(graph.numbers_N):
            continue
        batch.append(graph)
        edges += len(graph.edges.src_E)
        if edges > EDGES_AT_ONCE:
            yield batch
            batch, edges = [], 0
    if batch:
        yield batch


@torch.no_grad()
def deviations(crystals: list[Crystal], network: PropertyNetwork) -> dict[str, Any]:
    """How far outputs are from those of every atom computed by itself, in float64."""
    group = symmetry_group(network.settings)
    exact = copy.deepcopy(network).double().eval()
    ids: list[str] = []
    found: list[float] = []
    for graphs in symmetric(crystals, group):
        whole, reduced = (
            exact(batch_graphs(graphs, torch.float64, one)) for one in ("none", group)
        )
        found += (whole - reduced).abs().max(1).values.tolist()
        ids += [graph.id for graph in graphs]
    if not found:
        return {"group": group, "crystals_with_equivalent_atoms": 0}
    deviation_G = np.array(found)
    return {
        "group": group,
        "crystals_with_equivalent_atoms": len(found),
        "max": float(deviation_G.max()),
        "id_of_max": ids[int(deviation_G.argmax())],
        "quantile_0.999": float(np.quantile(deviation_G, 0.999)),
        "median": float(np.median(deviation_G)),
        "above_aim": int((deviation_G > AIM).sum()),
    }


def times(crystals: list[Crystal], network: PropertyNetwork, count: int) -> dict[str, Any]:
    """Milliseconds a crystal of a training step and a prediction, medians of five, side by side."""
    network = copy.deepcopy(network)
    chosen = [crystals[k] for k in np.linspace(0, len(crystals) - 1, count).astype(int)]
    graphs = [build_graph(one, CUTOFF) for one in chosen if len(one.numbers_N) <= 60]
    optimizers = optimizers_for(network, UNMOVED)
    groups = {"atom by atom": "none", "one of each orbit": symmetry_group(network.settings)}
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(6):
        for name, group in groups.items():
            parts = [graphs[k : k + 32] for k in range(0, len(graphs), 32)]
            batches = [batch_graphs(part, group=group) for part in parts]
            for mode in ("train", "infer"):
                started = time.process_time()
                for batch in batches:
                    step(network, optimizers, mode, len(batch.atoms_B), batch)
                taken.setdefault((mode, name), []).append(time.process_time() - started)
    result: dict[str, Any] = {"crystals": len(graphs)}
    for (mode, name), seconds in taken.items():
        result.setdefault(mode, {})[name] = 1e3 * statistics.median(seconds[1:]) / len(graphs)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--every", type=int, default=1, help="rows of the files")
    parser.add_argument("--every-mp", type=int, help="of mp_megnet; default: --every")
    parser.add_argument("--timed", type=int, default=256, help="crystals")
    options = parser.parse_args()
    settle_mkl()
    torch.set_num_threads(1)
    networks = {path.name: load_model(path).network for path in options.models}
    result: dict[str, Any] = {
        "machine": machine(),
        "tolerance_angstrom": TOLERANCE,
        "edge_tolerance_angstrom": EDGE_TOLERANCE,
        "models": {name: {"frame": network.settings.frame} for name, network in networks.items()},
        "files": {},
    }
    for name in FILES:
        every = options.every_mp or options.every if name == "mp_megnet" else options.every
        crystals = crystals_of(name, every)
        of_file = result["files"][name] = {"every": every, **orbit_counts(crystals)}
        of_file["deviation"], of_file["milliseconds"] = {}, {}
        log(f"{name}: {json.dumps(of_file)}")
        for label, network in networks.items():
            of_file["deviation"][label] = deviations(crystals, network)
            log(f"{name}, {label}: {json.dumps(of_file['deviation'][label])}")
            if name in ("jarvis_dft_3d", "mp_megnet"):
                of_file["milliseconds"][label] = times(crystals, network, options.timed)
                log(f"{name}, {label}: {json.dumps(of_file['milliseconds'][label])}")
            RESULTS_FILE.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
