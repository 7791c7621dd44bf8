"""One trained model or several that predict the same, and their predictions for a chunk of items."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dglframer.common.errors import UserError
from dglframer.common.text import escaped
from dglframer.common.threads import dense_layers
from dglframer.config.networks import SymmetryGroup, symmetry_group
from dglframer.evaluation.items import Item
from dglframer.evaluation.known_elements import known_to, unknown_elements, warning
from dglframer.evaluation.prediction_rows import Row
from dglframer.evaluation.spread import spread
from dglframer.graphs.batch import Batch, batch_graphs
from dglframer.networks.model_directory import Target, TrainedModel
from dglframer.networks.named import Place, load_place, places
from dglframer.structures.periodic_graph import build_graph


class BatchKind(NamedTuple):
    """What the batch of some crystals depends on besides them."""

    cutoff: float  # angstrom
    dtype: torch.dtype
    group: SymmetryGroup


def kind_of_batch(model: TrainedModel) -> BatchKind:
    """The batches that a model takes."""
    dtype = next(model.network.parameters()).dtype
    return BatchKind(model.cutoff, dtype, symmetry_group(model.network.settings))


@dataclass(frozen=True)
class Ensemble:
    """Models of the same targets, on one device."""

    models: tuple[TrainedModel, ...]
    places: tuple[Place, ...]
    device: torch.device

    @property
    def targets(self) -> tuple[Target, ...]:
        """What they predict."""
        return self.models[0].targets

    @property
    def cutoff(self) -> float:
        """The largest of their cutoffs, in angstrom."""
        return max(model.cutoff for model in self.models)

    @torch.no_grad()
    def predict_and_embed(self, items: Sequence[Item]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Predictions [M, G, T] in the targets' units, float64, and of each model what its head sees, [G, W].

        G: the items that have a graph. Graphs have the largest cutoff; each model gets graphs with its
        own, and models that take the same batch share it.
        """
        valid = [item for item in items if item.graph]
        numbers = [item.graph.numbers_N for item in valid if item.graph]
        predictions_MGT = np.zeros((len(self.models), len(valid), len(self.targets)))
        vectors = []
        batches: dict[BatchKind, Batch] = {}
        for m, model in enumerate(self.models):
            if valid:
                kind = kind_of_batch(model)
                if kind not in batches:
                    batches[kind] = self.batch(kind, valid)
                with dense_layers(model.network.dense_rows(batches[kind])):
                    vectors_GW = model.network.crystal_features(batches[kind])
                    output_GT = model.network.head(vectors_GW)
                predictions_MGT[m] = model.denormalise(output_GT, numbers).cpu().numpy()
                vectors.append(vectors_GW.cpu().numpy())
        return predictions_MGT, vectors

    @torch.no_grad()
    def atom_vectors(self, items: Sequence[Item]) -> list[np.ndarray]:
        """[A, W] for each item that has a graph: the first model's features of its atoms."""
        valid = [item for item in items if item.graph]
        if not valid:
            return []
        batch = self.batch(kind_of_batch(self.models[0]), valid)
        network = self.models[0].network
        with dense_layers(network.dense_rows(batch)):
            vectors_AW = network.atom_features(batch).cpu().numpy()
        ends = np.cumsum([len(item.graph.numbers_N) for item in valid if item.graph])
        return np.split(vectors_AW, ends[:-1])

    def batch(self, kind: BatchKind, items: Sequence[Item]) -> Batch:
        """The graphs of the items as a model takes them."""
        graphs = [
            item.graph if kind.cutoff == self.cutoff else build_graph(item.crystal, kind.cutoff)
            for item in items
            if item.graph and item.crystal
        ]
        return batch_graphs(graphs, kind.dtype, kind.group).to(self.device)

    def rows(self, items: Sequence[Item], with_embedding: bool = False) -> list[Row]:
        """A row for each item and target: the mean over the models and their spread, or an error.

        ``with_embedding``: the first row of each item has the first model's vector, or None.
        """
        predictions_MGT, vectors = self.predict_and_embed(items)
        results = iter(zip(predictions_MGT.mean(0), spread(predictions_MGT), strict=True))
        known = known_to(self.models)
        embeddings = iter(vectors[0].tolist() if with_embedding and vectors else ())
        rows: list[Row] = []
        for item in items:
            texts = (item.id, item.path, item.error)
            id, path, error = (None if text is None else escaped(text) for text in texts)
            mean_T, spread_T = next(results) if item.graph else (None, None)
            strange = unknown_elements(item.crystal.numbers_N, known) if item.crystal else []
            for t, target in enumerate(self.targets):
                row: Row = {"id": id, "path": path, "property": target.name}
                row |= {"prediction": None, "unit": target.unit, "spread": None}
                row |= {"warning": warning(strange), "error": error}
                if mean_T is not None and spread_T is not None:
                    if np.isfinite(mean_T[t]):
                        row["prediction"] = float(mean_T[t])
                        row["spread"] = None if np.isnan(spread_T[t]) else float(spread_T[t])
                    else:
                        row["error"] = "the prediction is not a finite number"
                if with_embedding and t == 0:
                    row["embedding"] = next(embeddings) if item.graph else None
                rows.append(row)
        return rows


def load_ensemble(given: Sequence[str | Path], device: torch.device) -> Ensemble:
    """The models of names, model directories and folders of such.

    Raises UserError unless all predict the same properties in the same units.
    """
    all_places = tuple(place for one in given for place in places(one))
    models = tuple(load_place(place, str(device)) for place in all_places)
    first, *others = [
        (place.folder, ", ".join(f"{one.name} ({one.unit})" for one in model.targets))
        for model, place in zip(models, all_places, strict=True)
    ]
    for folder, targets in others:
        if targets != first[1]:
            raise UserError(
                f"{folder} predicts other properties than {first[0]}: {targets}, not {first[1]}; "
                "the models of one call are an ensemble, so call once for each property"
            )
    return Ensemble(models, all_places, device)
