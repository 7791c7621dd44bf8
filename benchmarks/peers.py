"""Other models under the same clock as ours: a worker in an environment of its own.

ALIGNN's and matgl's current packages need no DGL: both build and run their graphs with torch alone
(matgl: torch-geometric), and install side by side with the torch that dglframer uses. Python 3.11:

    python -m venv PEERS && PEERS/bin/pip install torch==2.13.0 alignn==2026.8.11 matgl==4.1.2

(where pip's index has it, ``torch==2.13.0+cpu`` saves the CUDA libraries), then
``python benchmarks/speed.py --peers-python PEERS/bin/python``.

``speed.py`` measures them all, ``proof.py`` trains alignn. This file is run by that interpreter, so
it imports nothing of dglframer. It reads one JSON request a line and answers each with one JSON
line: {"do": "load", "file": ...}, {"do": "build", "peer": ..., "sample": ...}, {"do": "step",
"peer", "sample", "mode", "batches"}, {"do": "memory"}, and for alignn {"do": "fit", "peer",
"sample", "train", "labels", "predict", "seed", "epochs", "rate"}.

Models, defaults of their packages where nothing is said:
- alignn: ``ALIGNNAtomWisePure`` as the package configures a scalar property (2 + 2 layers of 64
  features, no forces), nearest 12 neighbours within 8 A, angles between bonds up to 3.5 A.
- alignn_published: the same code at the size of the publication (4 + 4 layers of 256 features,
  angles between all bonds).
- megnet, m3gnet: matgl's defaults (cutoffs 4 and 5 A, three-body 4 A).
"""

import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

Graphs = list[Any]


class Alignn:
    """ALIGNN in pure torch."""

    def __init__(self, published: bool):
        from alignn.models.alignn_atomwise_pure import ALIGNNAtomWisePure, ALIGNNAtomWisePureConfig

        settings: dict[str, Any] = {}
        if published:
            settings = {"alignn_layers": 4, "gcn_layers": 4, "hidden_features": 256}
        self.three_body_cutoff = 8.0 if published else 3.5
        config = ALIGNNAtomWisePureConfig(
            name="alignn_atomwise_pure",
            atom_input_features=92,
            calculate_gradient=False,
            gradwise_weight=0.0,
            **settings,
        )
        self.network = ALIGNNAtomWisePure(config)

    def graph(self, crystal: dict[str, Any]) -> Any:
        from alignn.torch_graph_builder import build_pure_torch_graph
        from jarvis.core.atoms import Atoms
        from jarvis.core.specie import atomic_numbers_to_symbols

        atoms = Atoms(
            lattice_mat=crystal["lattice"],
            coords=crystal["frac"],
            elements=atomic_numbers_to_symbols(crystal["numbers"]),
            cartesian=False,
        )
        return build_pure_torch_graph(
            atoms,
            two_body_cutoff=8.0,
            three_body_cutoff=self.three_body_cutoff,
            max_neighbors=12,
            atom_features="cgcnn",
        )

    def batch(self, graphs: Graphs) -> Any:
        from alignn.torch_graph_builder import batch_torch_graph_pairs

        graph, line_graph = batch_torch_graph_pairs(graphs)
        return graph, line_graph, torch.zeros(len(graphs), 3, 3)

    def predict(self, batch: Any) -> torch.Tensor:
        return self.network(batch)["out"].reshape(-1)

    def training(self, rate: float | None) -> tuple[Any, torch.optim.Optimizer]:
        """The settings of a training that the package states, and its optimiser; ``rate``: another."""
        from alignn.config import TrainingConfig
        from alignn.utils import group_decay, setup_optimizer

        settings = TrainingConfig() if rate is None else TrainingConfig(learning_rate=rate)
        return settings, setup_optimizer(group_decay(self.network), settings)

    def fit(
        self,
        graphs: Graphs,
        labels: torch.Tensor,
        epochs: int,
        settings: Any,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """The loop of the package: L1 loss, one cycle of the rate, whole batches in a drawn order."""
        size = min(settings.batch_size, len(graphs))
        steps = len(graphs) // size
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.learning_rate, epochs=epochs, steps_per_epoch=steps, pct_start=0.3
        )
        self.network.train()
        for _ in range(epochs):
            for chosen in torch.randperm(len(graphs))[: steps * size].split(size):
                output = self.predict(self.batch([graphs[i] for i in chosen.tolist()]))
                optimizer.zero_grad()
                torch.nn.functional.l1_loss(output, labels[chosen]).backward()
                optimizer.step()
                schedule.step()


class Matgl:
    """A model of matgl with its graph converter and its collation."""

    def __init__(self, name: str):
        from matgl import models
        from matgl.ext.pymatgen import Structure2Graph

        self.network = getattr(models, name)()
        self.converter = Structure2Graph(self.network.element_types, cutoff=self.network.cutoff)

    def graph(self, crystal: dict[str, Any]) -> Any:
        from pymatgen.core import Structure

        structure = Structure(crystal["lattice"], crystal["numbers"], crystal["frac"])
        graph, lattice, state = self.converter.get_graph(structure)
        return graph, lattice, torch.tensor(np.array(state), dtype=torch.float32), {"y": 0.0}

    def batch(self, graphs: Graphs) -> Any:
        """Collated, with positions and shifts as matgl's training module attaches them."""
        from matgl.graph.data import collate_fn_graph

        graph, lattice, state, _ = collate_fn_graph(graphs)
        lattice = lattice.reshape(-1, 3, 3)
        graph.pos = torch.einsum("nk,nkx->nx", graph.frac_coords, lattice[graph.batch])
        of_edge = lattice[graph.batch[graph.edge_index[0]]]
        graph.pbc_offshift = torch.einsum("ek,ekx->ex", graph.pbc_offset, of_edge)
        return graph, state

    def predict(self, batch: Any) -> torch.Tensor:
        graph, state = batch
        return self.network(graph, state_attr=state).reshape(-1)


PEERS: dict[str, Callable[[], Any]] = {
    "alignn": lambda: Alignn(published=False),
    "alignn_published": lambda: Alignn(published=True),
    "megnet": lambda: Matgl("MEGNet"),
    "m3gnet": lambda: Matgl("M3GNet"),
}


class Worker:
    """Keeps crystals, models, graphs and batches between requests."""

    def __init__(self) -> None:
        self.samples: dict[str, list[dict[str, Any]]] = {}
        self.models: dict[str, Any] = {}
        self.optimizers: dict[str, Any] = {}
        self.graphs: dict[tuple[str, str], Graphs] = {}
        self.batches: dict[str, list[Any]] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        return getattr(self, "do_" + request.pop("do"))(**request)

    def do_load(self, file: str, threads: int) -> dict[str, Any]:
        """Read the crystals of every sample."""
        torch.set_num_threads(threads)
        with open(file, encoding="utf-8") as handle:
            self.samples = json.load(handle)
        return {"peers": list(PEERS), "torch": torch.__version__}

    def do_build(self, peer: str, sample: str) -> dict[str, Any]:
        """Seconds to build the graphs of a sample; one is built before the clock starts."""
        if peer not in self.models:
            torch.manual_seed(0)
            self.models[peer] = PEERS[peer]()
            parameters = self.models[peer].network.parameters()
            self.optimizers[peer] = torch.optim.AdamW(parameters, lr=1e-12)
        model, crystals = self.models[peer], self.samples[sample]
        model.graph(crystals[0])
        started = time.perf_counter()
        self.graphs[peer, sample] = [model.graph(crystal) for crystal in crystals]
        built = time.perf_counter()
        model.batch(self.graphs[peer, sample][:64])
        batched = time.perf_counter() - built
        count = sum(p.numel() for p in model.network.parameters())
        return {
            "seconds": built - started,
            "batching": batched / min(64, len(crystals)),
            "parameters": count,
        }

    def do_step(
        self, peer: str, sample: str, mode: str, batches: list[list[int]]
    ) -> dict[str, Any]:
        """Seconds of a training step, or of inference, on each of some batches in turn."""
        key = json.dumps([peer, sample, batches])
        model, graphs = self.models[peer], self.graphs[peer, sample]
        if key not in self.batches:
            self.batches[key] = [model.batch([graphs[i] for i in part]) for part in batches]
        prepared = self.batches[key]
        started = time.perf_counter()
        for batch in prepared:
            if mode == "train":
                self.train_step(peer, batch)
            else:
                model.network.eval()
                with torch.no_grad():
                    model.predict(batch)
        return {"seconds": time.perf_counter() - started}

    def train_step(self, peer: str, batch: Any) -> None:
        model, optimizer = self.models[peer], self.optimizers[peer]
        model.network.train()
        output = model.predict(batch)
        loss = (output - torch.linspace(-1, 1, len(output))).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
        optimizer.step()

    def do_fit(
        self,
        peer: str,
        sample: str,
        train: list[int],
        labels: list[float],
        predict: list[int],
        seed: int,
        epochs: int,
        rate: float | None,
    ) -> dict[str, Any]:
        """Train a new model on some crystals of a sample that was built, and predict others.

        Returns the CPU seconds of the training alone. The weights are those of the last step.
        """
        graphs = self.graphs[peer, sample]
        torch.manual_seed(seed)
        model = PEERS[peer]()
        settings, optimizer = model.training(rate)
        started = time.process_time()
        model.fit([graphs[i] for i in train], torch.tensor(labels), epochs, settings, optimizer)
        seconds = time.process_time() - started
        model.network.eval()
        predictions: list[float] = []
        with torch.no_grad():
            for k in range(0, len(predict), settings.batch_size):
                part = [graphs[i] for i in predict[k : k + settings.batch_size]]
                predictions += model.predict(model.batch(part)).tolist()
        return {"cpu_seconds": seconds, "predictions": predictions}

    def do_memory(self) -> dict[str, Any]:
        """Largest resident memory of this process so far, in MiB."""
        return {"mib": peak_mib()}


def peak_mib() -> float:
    """Largest resident memory of this process so far, in MiB.

    Linux's own count where there is one: getrusage's starts at the size of the parent process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Answer requests until standard input ends; what libraries print goes to standard error."""
    warnings.filterwarnings("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        try:
            result = worker.answer(json.loads(line))
        except Exception as error:  # a peer's failure is a result: it is left out with its reason
            result = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    main()
