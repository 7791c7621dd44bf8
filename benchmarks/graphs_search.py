"""Neighbour search beside pymatgen and jarvis-tools, and the steps of one shard; for graphs.py."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from default_run import ROOT

from dglframer.data.crystals import validated
from dglframer.data.rejections import Rejections
from dglframer.data.sources.parquet import ParquetSource
from dglframer.graphs.shard_table import shard_table
from dglframer.structures.crystal import Crystal
from dglframer.structures.neighbors import periodic_edges, wrapped
from dglframer.structures.periodic_graph import PeriodicGraph, build_graph

SOURCE = ROOT.parent / "shared" / "data" / "mp_megnet.parquet"
TARGET = "formation_energy_per_atom"
CUTOFF = 8.4
ROUNDS, OUR_PASSES = 3, 20  # its passes are too short to be timed one by one
NEAR = 1e-6  # angstrom: images this near to the cutoff are in one set or the other by rounding


def building(count: int) -> dict[str, Any]:
    """CPU seconds of each neighbour search over the same crystals; the edges must be the same.

    The searches go through all crystals in turn, ROUNDS times; the medians count.
    """
    crystals = sample(count)
    searches: dict[str, Callable[[Any], Any]] = {
        "dglframer": lambda one: periodic_edges(one.lattice_33, one.coords_N3, CUTOFF),
        "pymatgen": lambda structure: structure.get_all_neighbors(CUTOFF),
        "jarvis-tools": lambda atoms: atoms.get_all_neighbors(r=CUTOFF),
    }
    prepared = {name: [prepared_for(name, one) for one in crystals] for name in searches}
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    sets = {}
    for name, search in searches.items():  # also the round that is not counted
        results = map(search, prepared[name])
        pairs = zip(crystals, results, strict=True)
        sets[name] = [edge_set(name, one, found) for one, found in pairs]
    for _ in range(ROUNDS):
        for name, search in searches.items():
            passes = OUR_PASSES if name == "dglframer" else 1
            started = time.process_time()
            for _ in range(passes):
                for one in prepared[name]:
                    search(one)
            seconds[name].append((time.process_time() - started) / passes)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    different = [
        any(sets[name][k] != sets["dglframer"][k] for name in searches) for k in range(count)
    ]
    return {
        "crystals": count,
        "atoms_mean": float(np.mean([len(one.numbers_N) for one in crystals])),
        "edges_mean": sum(map(len, sets["dglframer"])) / count,
        "crystals_with_other_edges": sum(different),
        "rows": [
            {
                "search": name,
                "crystals_per_second": count / value,
                "ratio": value / medians["dglframer"],
            }
            for name, value in medians.items()
        ],
    }


def sample(count: int) -> list[Crystal]:
    """Valid crystals of the data set, evenly spread over the file."""
    records = list(ParquetSource(SOURCE, {}).records())
    chosen = [records[k] for k in np.linspace(0, len(records) - 1, count).astype(int)]
    return list(validated(chosen, [TARGET], Rejections()))


def prepared_for(name: str, one: Crystal) -> Any:
    """The crystal as each package wants it, not part of its time."""
    numbers, frac = one.numbers_N.tolist(), wrapped(one.coords_N3)
    if name == "pymatgen":
        from pymatgen.core import Structure

        return Structure(one.lattice_33, numbers, frac)
    if name == "jarvis-tools":
        from jarvis.core.atoms import Atoms
        from jarvis.core.specie import atomic_numbers_to_symbols

        symbols = atomic_numbers_to_symbols(numbers)
        return Atoms(lattice_mat=one.lattice_33, coords=frac, elements=symbols, cartesian=False)
    return one


def edge_set(name: str, one: Crystal, found: Any) -> set[tuple[int, ...]]:
    """(i, j, n) of every edge but self edges and those within NEAR of the cutoff."""
    if name == "dglframer":
        rows = np.column_stack([found.dst_E, found.src_E, found.image_E3])
    elif name == "pymatgen":
        rows = np.array([(i, o.index, *o.image) for i, near in enumerate(found) for o in near])
    else:
        rows = np.array([(i, j, *n) for near in found for i, j, _, n in near])
    rows = rows.reshape(-1, 5).astype(int)
    frac = wrapped(one.coords_N3)
    r_E3 = (frac[rows[:, 1]] + rows[:, 2:] - frac[rows[:, 0]]) @ one.lattice_33
    d_E = np.linalg.norm(r_E3, axis=1)
    return set(map(tuple, rows[(d_E > NEAR) & (d_E < CUTOFF - NEAR)].tolist()))


def shard_steps(count: int) -> list[dict[str, Any]]:
    """CPU seconds of each step of one shard, and of writing it without compression."""
    crystals = sample(count)
    graphs: list[PeriodicGraph] = []
    tables: list[pa.Table] = []
    steps: dict[str, Callable[[], Any]] = {
        "search": lambda: graphs.extend(build_graph(one, CUTOFF) for one in crystals),
        "table": lambda: tables.append(shard_table(graphs, {TARGET: ""})),
        "encoding and zstd": lambda: pq.write_table(
            tables[0], pa.BufferOutputStream(), compression="zstd", write_page_checksum=True
        ),
        "encoding, not compressed": lambda: pq.write_table(
            tables[0], pa.BufferOutputStream(), compression="none", write_page_checksum=True
        ),
    }
    rows = []
    for name, step in steps.items():
        started = time.process_time()
        step()
        rows.append({"step": name, "cpu_s": time.process_time() - started})
    return rows
