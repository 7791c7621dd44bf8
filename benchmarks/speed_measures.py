"""The measurements of `speed.py`: steps in interleaved rounds, literal baseline, scaling, memory."""

import copy
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speed_cases import (
    SHARED,
    Case,
    Literal,
    Ours,
    Peer,
    PeerFailed,
    PeerProcess,
    Sample,
    log,
    minerals,
)

from dglframer.data.sources.structure_files import read_structure
from dglframer.graphs.batch import batch_graphs
from dglframer.graphs.reduction import computed_sizes
from dglframer.structures.crystal import Crystal, validate
from dglframer.structures.periodic_graph import build_graph

SCRIPT = Path(__file__).with_name("speed.py")
LARGE = SHARED / "structures" / "large_624_atoms_mp-569514.cif"
SEED = 0
MODES = ("train", "infer")
PEER_NAMES = ("alignn", "alignn_published", "megnet", "m3gnet")
BUDGET = 4.0  # seconds: a case that has used them sits out the other rounds of a table cell
# Cells that would take minutes, or (ALIGNN as published, 256 crystals) more memory than there is.
TOO_LONG = {
    ("plain, DGL", "mp_megnet", 256),
    ("plain, torch", "mp_megnet", 256),
    ("alignn_published", "jarvis_like", 256),
    ("alignn_published", "mp_megnet", 256),
    ("alignn_published", "mp_megnet", 64),
}


def interleaved(
    cases: Sequence[Case], sample: Sample, mode: str, batches: list[list[int]], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each case in each round. The first call is left out, unless it is the only one.

    A peer that fails gets no seconds.
    """
    seconds: dict[str, list[float]] = {case.name: [] for case in cases}
    failed: set[str] = set()
    for _ in range(rounds + 1):
        for case in cases:
            if case.name in failed or sum(seconds[case.name]) >= BUDGET:
                continue
            try:
                seconds[case.name].append(case.run(sample, mode, batches))
            except PeerFailed as error:
                log(f"{case.name}, {sample.name}, {mode}: {error}")
                failed.add(case.name)
    return {name: times[1:] or times for name, times in seconds.items() if name not in failed}


def portions(sample: Sample, batch: int) -> list[list[int]]:
    """What one call works on: a batch, or 16 batches of one crystal, of evenly spread sizes."""
    if batch == 1:
        return [[index] for index in sample.spread(min(16, len(sample.crystals)))]
    return [sample.spread(batch)]


def measure_steps(
    cases: Sequence[Case], samples: list[Sample], sizes: Sequence[int], rounds: int
) -> list[dict[str, Any]]:
    """Rows of time per crystal for every sample, batch and mode."""
    rows = []
    for sample in samples:
        for batch in sizes:
            here = [case for case in cases if (case.name, sample.name, batch) not in TOO_LONG]
            batches = portions(sample, batch)
            count = sum(map(len, batches))
            for mode in ("train", "infer"):
                log(f"{sample.name}, batch {batch}, {mode}")
                for name, times in interleaved(here, sample, mode, batches, rounds).items():
                    rows.append({
                        "case": name, "sample": sample.name, "mode": mode, "batch": batch,
                        "crystals": count, "seconds": times,
                        "ms_per_crystal": 1e3 * statistics.median(times) / count,
                        "least_ms_per_crystal": 1e3 * min(times) / count,
                    })  # fmt: skip
    return rows


def measure_literal(
    network: Any, sample: Sample, steps: list[dict[str, Any]], quick: bool
) -> dict[str, Any]:
    """The literal formulation and the fast path on the same few crystals."""
    log("literal formulation")
    few = sample.spread(4)[: 1 if quick else 4]
    cases = [Ours("fast", network, compiled=True, symmetry=True), Literal(network)]
    atoms = [len(sample.crystals[index].numbers_N) for index in few]
    scale = sample.describe()["pairs_mean"] / float(np.mean(np.square(atoms)))
    rows = []
    for mode in ("train", "infer"):
        times = interleaved(cases, sample, mode, [few], 1 if quick else 3)
        fast, slow = (1e3 * statistics.median(times[c.name]) / len(few) for c in cases)
        batches = [r for r in steps if r["case"] == "fast" and r["sample"] == sample.name]
        there = next(r for r in batches if r["mode"] == mode)["ms_per_crystal"]
        rows.append({
            "mode": mode, "fast_ms": fast, "literal_ms": slow, "ratio": slow / fast,
            "literal_scaled_ms": slow * scale, "fast_batch_ms": there,
            "scaled_ratio": slow * scale / there,
        })  # fmt: skip
    small = rattled(minerals(), 2 if quick else 6)
    with torch.no_grad():
        batch = batch_graphs([build_graph(crystal, 8.4) for crystal in small])
        ours = with_ties(copy.deepcopy(network), "first")(batch)
        theirs = cases[1].network.predict(cases[1].images(small))
    difference = (ours - theirs).abs().max().item()
    if difference > 1e-4:
        raise SystemExit(f"the literal formulation differs by {difference}: no baseline")
    return {
        "rows": rows, "crystals": len(few), "atoms": ", ".join(map(str, atoms)),
        "difference": difference, "checked": len(small),
    }  # fmt: skip


def with_ties(network: Any, ties: str) -> Any:
    """The network, its treatment of tied frames changed."""
    network.settings = network.settings.model_copy(update={"frame_ties": ties})
    for block in network.blocks:
        block.attention.settings = network.settings
    return network


def rattled(crystals: list[Crystal], count: int) -> list[Crystal]:
    """Small crystals without ties: strained, every atom moved; not of thin cells.

    In a cell under 4 A thick the box of +-2 images, itself a truncation, misses weights of 1e-4.
    """
    rng = np.random.default_rng(SEED)
    found = []
    for crystal in crystals:
        spacing = 1 / np.linalg.norm(np.linalg.inv(crystal.lattice_33), axis=0).max()
        if len(crystal.numbers_N) <= 8 and spacing > 4 and len(found) < count:
            lattice = crystal.lattice_33 @ (np.eye(3) + rng.normal(0, 0.03, (3, 3)))
            frac = crystal.coords_N3 + rng.normal(0, 0.02, crystal.coords_N3.shape)
            found.append(Crystal(crystal.id, crystal.numbers_N, lattice, frac, {}))
    return found


def large_cell() -> Sample | None:
    """The 624-atom cell, or None where it is absent."""
    if not LARGE.exists():
        return None
    origin = f"../shared/data/structures/{LARGE.name}"
    return Sample("large_624", origin, [validate(read_structure(LARGE))])


def measure_scaling(network: Any, sample: Sample, large: Sample | None, quick: bool) -> Any:
    """The fast path against atoms per cell (batch 1), crystals per batch, threads."""
    log("scaling")
    fast = Ours("fast", network, compiled=True, symmetry=True)
    rounds = 1 if quick else 3
    every = minerals()

    def ms(what: Sample, batches: list[list[int]]) -> dict[str, float]:
        count = sum(map(len, batches))
        timed = {m: interleaved([fast], what, m, batches, rounds)["fast"] for m in MODES}
        return {f"{m}_ms": 1e3 * statistics.median(t) / count for m, t in timed.items()}

    atoms, batches, threads = [], [], []
    for wanted in (1, 2, 4) if quick else (1, 2, 4, 8, 16, 32, 64, 100):
        one = min(every, key=lambda c: (abs(len(c.numbers_N) - wanted), c.id))
        atoms.append(Sample(f"{wanted} atoms", one.id, [one]))
    for cell in atoms + ([large] if large and not quick else []):
        cell.build()
    cells = [
        {"atoms": len(cell.crystals[0].numbers_N), "edges": len(cell.graphs[0].edges.src_E),
         **dict(zip(("orbits", "edges_of_orbits"), computed_sizes(cell.graphs[0], fast.group), strict=True)),
         **ms(cell, [[0]])}
        for cell in atoms + ([large] if large and not quick else [])
    ]  # fmt: skip
    for size in (1, 2) if quick else (1, 4, 16, 64, 256):
        batches.append({"batch": size, **ms(sample, portions(sample, size))})
    before = torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        threads.append({"threads": count, **ms(sample, portions(sample, 2 if quick else 64))})
    torch.set_num_threads(before)
    return {"atoms": cells, "batch": batches, "threads": threads}


def measure_memory(
    tasks: list[list[Any]], peers: str | None, samples: list[Sample], folder: Path, args: Any
) -> tuple[list[dict[str, Any]], list[str]]:
    """Peak memory of one training step, each case in a fresh process; and what failed."""
    rows, failed = [], []
    for name, sample, batch in tasks:
        log(f"memory: {name}, {sample}, batch {batch}")
        row = {"case": name, "sample": sample, "batch": batch, "mode": "train"}
        try:
            if name in PEER_NAMES:
                assert peers is not None
                with PeerProcess(peers, samples, folder, args.threads) as process:
                    process.ask(do="build", peer=name, sample=sample)
                    base = process.ask(do="memory")["mib"]
                    chosen = next(s for s in samples if s.name == sample)
                    Peer(name, process).run(chosen, "train", [chosen.spread(batch)])
                    row |= {"base_mib": base, "peak_mib": process.ask(do="memory")["mib"]}
            else:
                command = [sys.executable, str(SCRIPT), "--one", json.dumps([name, sample, batch])]
                command += ["--threads", str(args.threads)] + ["--quick"] * args.quick
                run = subprocess.run(command, check=True, capture_output=True, text=True)
                row |= json.loads(run.stdout.splitlines()[-1])
            rows.append(row)
        except (PeerFailed, subprocess.CalledProcessError) as error:
            words = getattr(error, "stderr", "") or str(error)
            failed.append(f"memory of {name}, {sample}, batch {batch}: {words.splitlines()[-1]}")
    return rows, failed
