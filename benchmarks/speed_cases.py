"""What `speed.py` runs: samples of real crystals, our paths, the literal formulation, the peers."""

import copy
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq
import torch
from literal import Images, LiteralFramer

import dglframer.attention as attention_door
from dglframer.attention.reference.attention import ReferenceAttention
from dglframer.common.threads import ROWS, dense_layers, one_thread
from dglframer.config.networks import CrystalFramerConfig, SymmetryGroup, symmetry_group
from dglframer.config.training import TrainingConfig
from dglframer.data.crystals import validated
from dglframer.data.rejections import Rejections
from dglframer.data.sources.jarvis_minerals import JarvisMinerals
from dglframer.graphs.batch import Batch, batch_graphs
from dglframer.networks.base import PropertyNetwork
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.structures.crystal import Crystal, Record, validate
from dglframer.structures.periodic_graph import PeriodicGraph, build_graph
from dglframer.training.optimiser import l1_loss, optimizers_for

CUTOFF = 8.4
JARVIS_MEAN_ATOMS = 10.0
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
TARGET = "formation_energy_peratom"


@dataclass
class Sample:
    """Crystals, where they come from, and their graphs once they are built."""

    name: str
    origin: str
    crystals: list[Crystal]
    graphs: list[PeriodicGraph] = field(default_factory=list)

    def build(self) -> float:
        """Build every graph; returns the seconds it took (one graph is built before)."""
        build_graph(self.crystals[0], CUTOFF)
        started = time.perf_counter()
        self.graphs = [build_graph(crystal, CUTOFF) for crystal in self.crystals]
        return time.perf_counter() - started

    def spread(self, count: int) -> list[int]:
        """Indices of ``count`` crystals evenly spaced in the order of sizes."""
        order = np.argsort([len(crystal.numbers_N) for crystal in self.crystals], kind="stable")
        return [int(order[int((k + 0.5) * len(order) / count)]) for k in range(count)]

    def describe(self) -> dict[str, Any]:
        """Size distribution, for the record."""
        atoms = np.array([len(crystal.numbers_N) for crystal in self.crystals])
        edges = np.array([len(graph.edges.src_E) for graph in self.graphs])
        return {
            "origin": self.origin,
            "crystals": len(atoms),
            "atoms_mean": float(atoms.mean()),
            "atoms_median": float(np.median(atoms)),
            "atoms_max": int(atoms.max()),
            "pairs_mean": float((atoms**2).mean()),
            "edges_mean": float(edges.mean()),
        }


def minerals() -> list[Crystal]:
    """The embedded data set."""
    records = JarvisMinerals((TARGET,)).records()
    return list(validated(records, (TARGET,), Rejections()))


def jarvis_like(count: int, seed: int, max_atoms: int = 1000) -> Sample:
    """Minerals drawn, with replacement, with probability ~ exp(-atoms / tau): see ``origin``."""
    crystals = [crystal for crystal in minerals() if len(crystal.numbers_N) <= max_atoms]
    atoms = np.array([len(crystal.numbers_N) for crystal in crystals])
    low, high = 1.0, 1000.0
    for _ in range(60):
        tau = (low * high) ** 0.5
        p = np.exp(-atoms / tau)
        p /= p.sum()
        low, high = (tau, high) if p @ atoms < JARVIS_MEAN_ATOMS else (low, tau)
    chosen = np.random.default_rng(seed).choice(len(crystals), count, p=p)
    origin = (
        f"{count} of the {len(crystals)} embedded JARVIS minerals of at most {atoms.max()} atoms, "
        f"drawn with replacement (seed {seed}) with probability ~ exp(-atoms / {tau:.1f}), "
        f"for which the expected size is {p @ atoms:.1f} atoms"
    )
    return Sample("jarvis_like", origin, [crystals[index] for index in chosen])


def mp_megnet(count: int, seed: int) -> Sample | None:
    """Seeded rows of the shared Materials Project set, or None where that is absent."""
    path = SHARED / "mp_megnet.parquet"
    if not path.exists():
        return None
    columns = ["material_id", "atomic_numbers", "lattice", "frac_coords"]
    table = pq.read_table(path, columns=columns)
    rows = np.random.default_rng(seed).permutation(len(table))[:count]
    crystals = []
    for row in table.take(np.sort(rows)).to_pylist():
        lattice = np.reshape(row["lattice"], (3, 3))
        frac = np.reshape(row["frac_coords"], (-1, 3))
        record = Record(row["material_id"], row["atomic_numbers"], lattice, frac)
        crystals.append(validate(record))
    origin = (
        f"{count} rows of the MP-2018.6.1 (MEGNet) train and val sets, no replacement (seed {seed})"
    )
    return Sample("mp_megnet", origin, crystals)


class Case(Protocol):
    """Something whose steps are timed."""

    name: str

    def run(self, sample: Sample, mode: str, batches: list[list[int]]) -> float:
        """Seconds of a training step, or of inference, on each batch (indices) in turn."""
        ...


def new_network(frame: str = "max", crystals: int = 64) -> CrystalFramer:
    """A default model, seed 0, calibrated on so many crystals like JARVIS'."""
    network = CrystalFramer(CrystalFramerConfig(frame=frame)).draw(0)
    graphs = [build_graph(crystal, CUTOFF) for crystal in jarvis_like(crystals, 1).crystals]
    network.calibrate(batch_graphs(graphs))
    return network


# Weights that a step leaves as they are: every round measures the same model. Muon is a case of its own.
UNMOVED = TrainingConfig(optimizer="adamw", learning_rate=1e-12)
UNMOVED_MUON = TrainingConfig(learning_rate=1e-12, muon_learning_rate=1e-12)


class Ours:
    """A path of dglframer: compiled (``fast``), or edge operations of DGL or of torch.

    Equivalent atoms are computed once if ``symmetry``.
    """

    def __init__(
        self,
        name: str,
        network: CrystalFramer,
        compiled: bool,
        use_dgl: bool = True,
        symmetry: bool = False,
        training: TrainingConfig = UNMOVED,
    ):
        self.name, self.network = name, network
        self.compiled, self.use_dgl = compiled, use_dgl
        self.group: SymmetryGroup = symmetry_group(network.settings) if symmetry else "none"
        self.optimizers = optimizers_for(network, training)
        self.batches: dict[str, Batch] = {}

    def batch(self, sample: Sample, part: list[int]) -> Batch:
        key = json.dumps([sample.name, part])
        if key not in self.batches:
            batch = batch_graphs([sample.graphs[index] for index in part], group=self.group)
            self.batches[key] = batch if self.use_dgl else batch.without_dgl()
        return self.batches[key]

    def run(self, sample: Sample, mode: str, batches: list[list[int]]) -> float:
        prepared = [self.batch(sample, part) for part in batches]
        backends = attention_door.BACKENDS if self.compiled else (ReferenceAttention,)
        with patch.object(attention_door, "BACKENDS", backends):
            started = time.perf_counter()
            for part, batch in zip(batches, prepared, strict=True):
                step(self.network, self.optimizers, mode, len(part), batch)
            return time.perf_counter() - started


class Literal:
    """The literal formulation with the parameters of a network."""

    def __init__(self, network: CrystalFramer):
        self.name = "literal"
        self.network = LiteralFramer(network.settings)
        self.network.load_state_dict(network.state_dict())
        self.optimizers = optimizers_for(self.network, UNMOVED)

    def images(self, crystals: Iterable[Crystal]) -> list[Images]:
        return [Images(crystal, self.network.settings.r0_angstrom) for crystal in crystals]

    def run(self, sample: Sample, mode: str, batches: list[list[int]]) -> float:
        prepared = [self.images(sample.crystals[index] for index in part) for part in batches]
        started = time.perf_counter()
        for images in prepared:
            step(self.network.predict, self.optimizers, mode, len(images), images)
        return time.perf_counter() - started


def step(
    model: Any, optimizers: Sequence[torch.optim.Optimizer], mode: str, count: int, batch: Any
) -> None:
    """One optimiser step with clipped gradients on made-up targets, or one prediction."""
    # As the trainer and the predictions do it.
    rows = model.dense_rows(batch) if isinstance(model, PropertyNetwork) else ROWS
    if mode == "infer":
        with torch.no_grad(), dense_layers(rows):
            model(batch)
        return
    for optimizer in optimizers:
        optimizer.zero_grad()
    with dense_layers(rows):
        l1_loss(model(batch), torch.linspace(-1, 1, count).unsqueeze(1)).backward()
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    parameters = [p for group in groups for p in group["params"]]
    adamw, *others = optimizers
    with one_thread() if isinstance(model, PropertyNetwork) else nullcontext():
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adamw.step()
    for optimizer in others:
        optimizer.step()


class PeerFailed(RuntimeError):
    """Another package could not do what was asked."""


class PeerProcess:
    """`peers.py` running under another interpreter; used as a context manager."""

    def __init__(self, python: str, samples: list[Sample], folder: Path, threads: int):
        crystals = folder / "crystals.json"
        plain = {
            sample.name: [
                {
                    "numbers": crystal.numbers_N.tolist(),
                    "lattice": crystal.lattice_33.tolist(),
                    "frac": crystal.coords_N3.tolist(),
                }
                for crystal in sample.crystals
            ]
            for sample in samples
        }
        crystals.write_text(json.dumps(plain))
        script = Path(__file__).with_name("peers.py")
        self.process = subprocess.Popen(
            [python, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.about = self.ask(do="load", file=str(crystals), threads=threads)

    def __enter__(self) -> "PeerProcess":
        return self

    def __exit__(self, *error: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request and its answer; raises PeerFailed with the worker's own words."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            raise PeerFailed("its process has ended (out of memory?)") from None
        if "error" in answer:
            raise PeerFailed(answer["error"])
        return answer


class Peer:
    """One model of a peer process."""

    def __init__(self, name: str, process: PeerProcess):
        self.name, self.process = name, process

    def run(self, sample: Sample, mode: str, batches: list[list[int]]) -> float:
        request = {"peer": self.name, "sample": sample.name, "mode": mode, "batches": batches}
        return float(self.process.ask(do="step", **request)["seconds"])


def our_cases(network: CrystalFramer, frameless: CrystalFramer) -> list[Ours]:
    """Every path of ours that is measured."""
    every, frameless_every, muon, dgl, plain = map(
        copy.deepcopy, (network, frameless, network, network, network)
    )
    return [
        Ours("fast", network, compiled=True, symmetry=True),
        Ours("fast, atom by atom", every, compiled=True),
        Ours("fast, Muon", muon, compiled=True, symmetry=True, training=UNMOVED_MUON),
        Ours("plain, DGL", dgl, compiled=False),
        Ours("plain, torch", plain, compiled=False, use_dgl=False),
        Ours("fast, frame none", frameless, compiled=True, symmetry=True),
        Ours("fast, frame none, atom by atom", frameless_every, compiled=True),
    ]


def log(text: str) -> None:
    """Progress, on standard error: standard output holds the tables."""
    print(text, file=sys.stderr, flush=True)
