"""Trained models in Python: predictions as a table, and vectors of crystals and atoms."""

from collections import Counter
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dglframer.common.device import pick_device, reproducible, settle_mkl
from dglframer.common.errors import UserError
from dglframer.evaluation.demands import Demands, check_demands, finished
from dglframer.evaluation.ensemble import Ensemble, load_ensemble
from dglframer.evaluation.intervals import USUAL, find_intervals
from dglframer.evaluation.items import Item, Wanted, chunks
from dglframer.evaluation.prediction_rows import as_table, columns
from dglframer.graphs.batch import EDGES_PER_BATCH
from dglframer.interface.structures import as_list, items_of
from dglframer.networks.model_directory import Target

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from dglframer.interface.structures import Structures


def load(
    model: str | PathLike[str], *more: str | PathLike[str], device: str = "auto", threads: int = 1
) -> "Model":
    """A model for predictions: a shipped one by its name, a model directory, or a folder of seeds.

    A text without a separator is first the name of a shipped model (``dglframer models`` lists them),
    then a path; a Path is a path. A folder of seeds is an ensemble. ``more``: further members.
    ``device``: cpu, cuda, cuda:1, ... or auto, a GPU if there is one. ``threads``: CPU threads of a
    prediction. Raises UserError if there is no such model, if a file is missing or damaged, or if the
    members predict other properties or units.
    """
    settle_mkl()  # before any product of matrices; then the numbers are those of the command line
    given = [one if isinstance(one, str) else Path(one) for one in (model, *more)]
    return Model(load_ensemble(given, pick_device(device)), threads)


class Model:
    """One trained model, or an ensemble of models of the same properties; made by ``load``."""

    def __init__(self, ensemble: Ensemble, threads: int = 1):
        self.ensemble, self.threads = ensemble, threads

    @property
    def targets(self) -> tuple[Target, ...]:
        """The predicted properties: ``name`` and ``unit`` of each."""
        return self.ensemble.targets

    @property
    def cutoff(self) -> float:
        """The radius of the neighbours that the model sees, in angstrom."""
        return self.ensemble.cutoff

    @property
    def members(self) -> tuple["Model", ...]:
        """Each model of an ensemble by itself."""
        ensemble = self.ensemble
        each = zip(ensemble.models, ensemble.places, strict=True)
        alone = (Ensemble((model,), (place,), ensemble.device) for model, place in each)
        return tuple(Model(one, self.threads) for one in alone)

    def predict(
        self,
        structures: "Structures",
        *,
        table: Literal["pandas", "pyarrow"] = "pandas",
        abstain_above: float | None = None,
        strict: bool = False,
        coverage: float = USUAL,
        assume_periodic: bool = False,
        edges_per_batch: int = EDGES_PER_BATCH,
        workers: int = 0,
    ) -> "pd.DataFrame | pa.Table":
        """A row for each structure (and target), in order; one structure gives a table of one row.

        ``structures``: one or many, of pymatgen, ASE or jarvis-tools, their dictionaries, or paths of
        files and folders. The columns are those of ``dglframer predict``: id, path (null where there is no
        file), property (only for several targets), prediction (the mean over the members), unit, spread
        (sample standard deviation over the members; null for one), low and high (the interval, from
        intervals.json beside the models; null without it), abstained, warning
        (elements that no training crystal had), error (why there is no prediction).
        The numbers are those of the command line, to the bit, for the same structures in the
        same order, ``edges_per_batch``, threads and device.

        ``abstain_above``: no prediction where the interval is wider (without intervals: where the spread
        is larger), in the target's unit. ``strict``: what has a warning is an error. ``coverage`` of the
        intervals: 0.5, 0.68, 0.8, 0.9, 0.95 or 0.99. ``assume_periodic``: what has a cell is a crystal,
        whatever it says of its axes. ``edges_per_batch`` bounds the memory.
        ``workers``: processes that read files beside the prediction, if all structures are paths.
        Raises UserError for objects that are no structures.
        """
        demands = Demands(abstain_above, strict, coverage)
        intervals = find_intervals([place.folder for place in self.ensemble.places])
        check_demands(demands, self.ensemble, intervals)
        rows = []
        with reproducible(self.threads, self.ensemble.device):
            for chunk in self.chunks(structures, assume_periodic, edges_per_batch, workers):
                rows += self.ensemble.rows(chunk)
        kinds = columns(several=len(self.ensemble.targets) > 1)
        result = as_table(list(finished(rows, demands, intervals, Counter())), kinds)
        return result if table == "pyarrow" else result.to_pandas()

    def embed(
        self,
        structures: "Structures",
        *,
        atoms: bool = False,
        errors: Literal["raise", "nan"] = "raise",
        assume_periodic: bool = False,
        edges_per_batch: int = EDGES_PER_BATCH,
        workers: int = 0,
    ) -> Any:
        """What the head of the model sees: [G, W], a vector of the model's width for each structure.

        With ``atoms``: a list of G arrays [N, W], the features of the atoms before they are pooled, in
        the order of the structure's sites. Features do not change with orientation, origin or cell. The
        type is that of the weights (float32). ``structures`` and the rest as in ``predict``.
        An ensemble gives its first member's: vectors of several models do not mix (``members``).

        Raises UserError for a structure that cannot be used; with ``errors="nan"`` such a one has a row of
        NaN ([0, W] of atoms).
        """
        first = self.members[0]
        parts: list[np.ndarray] = []
        width = first.ensemble.models[0].network.head.hidden.in_features
        with reproducible(self.threads, self.ensemble.device):
            for chunk in first.chunks(structures, assume_periodic, edges_per_batch, workers):
                found = first.vectors(chunk, atoms)
                for item in chunk:
                    if item.graph is None and errors == "raise":
                        raise UserError(f"{item.id}: {item.error}")
                    absent = np.full((0, width) if atoms else width, np.nan, np.float32)
                    parts.append(absent if item.graph is None else next(found))
        if atoms:
            return parts
        return np.stack(parts) if parts else np.empty((0, width), np.float32)

    def vectors(self, items: list[Item], atoms: bool) -> Iterator[np.ndarray]:
        """[N, W] or [W] for each item that has a graph."""
        if atoms:
            return iter(self.ensemble.atom_vectors(items))
        _, vectors = self.ensemble.predict_and_embed(items)
        return iter(vectors[0] if vectors else ())

    def chunks(
        self, structures: "Structures", assume_periodic: bool, edges_per_batch: int, workers: int
    ) -> Iterator[list[Item]]:
        """The structures in batches, each with its graph or its error."""
        wanted = Wanted(self.cutoff, assume_periodic)
        items = items_of(as_list(structures), wanted, workers, edges_per_batch)
        return chunks(items, edges_per_batch)

    def __repr__(self) -> str:
        targets = ", ".join(f"{target.name} ({target.unit})" for target in self.targets)
        n = len(self.ensemble.models)
        return f"<dglframer.Model of {targets}; {n} member{'s' if n > 1 else ''}>"
