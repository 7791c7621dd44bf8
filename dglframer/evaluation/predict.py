"""Predictions for the crystals in files (CIF, POSCAR, extxyz, Parquet), by one model or several."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch

from dglframer import __version__
from dglframer.common.errors import Rejected, UserError
from dglframer.common.files import atomic_path
from dglframer.common.parquet import write_parquet
from dglframer.evaluation.partial_rows import PartialRows, Position, Row, description
from dglframer.evaluation.spread import spread
from dglframer.evaluation.structure_inputs import Found, read_records
from dglframer.graphs.batch import batch_graphs
from dglframer.networks.model_directory import TrainedModel, load_model
from dglframer.structures.crystal import Crystal, validate
from dglframer.structures.periodic_graph import PeriodicGraph, build_graph

log = logging.getLogger(__name__)

LOG_EVERY = 1000  # structures


def predict_files(
    model_folders: Sequence[Path],
    files: Sequence[Path],
    out: Path,
    device: torch.device,
    edges_per_batch: int,
    abstain_above: float | None = None,
    assume_periodic: bool = False,
) -> int:
    """Write a row for each crystal to ``out`` (.csv or .parquet), in the order of the files.

    The columns are id, path, prediction (mean over the models), unit, spread, abstained and error. If there
    are several targets, each has a row and the column ``property`` names it. For a crystal that cannot
    be predicted, ``error`` has the reason; the number of these rows is returned. If the spread of the
    models is above ``abstain_above`` (in the target's unit), ``abstained`` is true and there is no
    prediction. A run that was killed goes on with what ``out``.partial has. Raises UserError if the
    arguments or the models do not fit each other.
    """
    if abstain_above is not None and len(model_folders) < 2:
        raise UserError("--abstain-above: a single model has no spread; give several (--model)")
    if out.suffix not in (".csv", ".parquet"):
        raise UserError(f"--out {out}: the name must end in .csv or .parquet")
    models = [load_model(folder, str(device)) for folder in model_folders]
    check_same_targets(models, model_folders)
    if abstain_above is not None and len(models[0].targets) > 1:
        raise UserError("--abstain-above: it takes models of one property, these predict several")
    settings = {"edges": edges_per_batch, "device": device.type, "version": __version__}
    settings |= {"assume_periodic": assume_periodic, "threads": torch.get_num_threads()}
    with PartialRows(out, description(model_folders, files, settings)) as partial:
        if partial.parts:
            log.info("goes on after %d rows in %s", len(partial.rows), partial.path)
        n_crystals = 0
        records = read_records(files, assume_periodic, partial.position)
        for chunk in chunks(records, max(m.cutoff for m in models), edges_per_batch):
            partial.append(predict_chunk(models, chunk, device), chunk[-1].next)
            n_before, n_crystals = n_crystals, n_crystals + len(chunk)
            if n_crystals // LOG_EVERY > n_before // LOG_EVERY:
                log.info("%d structures", n_crystals)
        rows = partial.rows
        for row in rows:
            abstain(row, abstain_above)
        write_rows(rows, out, several=len(models[0].targets) > 1)
    failed = sum(row["error"] is not None for row in rows)
    abstained = sum(row["abstained"] for row in rows)
    log.info("%d rows in %s, %d with an error, %d abstained", len(rows), out, failed, abstained)
    return failed


def abstain(row: Row, threshold: float | None) -> None:
    """Set ``abstained``; if the spread is above the threshold, remove the prediction."""
    spread = row["spread"]
    row["abstained"] = threshold is not None and spread is not None and spread > threshold
    if row["abstained"]:
        row["prediction"] = None


def check_same_targets(models: Sequence[TrainedModel], folders: Sequence[Path]) -> None:
    """Raise UserError unless all models predict the same properties in the same units."""
    first = [(target.name, target.unit) for target in models[0].targets]
    for model, folder in zip(models, folders, strict=True):
        if [(target.name, target.unit) for target in model.targets] != first:
            raise UserError(f"{folder} predicts other properties than {folders[0]}: {first}")


class Item(NamedTuple):
    """A crystal with its graph, or the reason why there is none."""

    id: str
    path: Path
    next: Position
    crystal: Crystal | None = None
    graph: PeriodicGraph | None = None
    error: str | None = None


def chunks(records: Iterable[Found], cutoff: float, edges_per_batch: int) -> Iterator[list[Item]]:
    """Lists of at most ``edges_per_batch`` edges, or of one crystal."""
    chunk: list[Item] = []
    n_edges = 0
    for path, record, next in records:
        try:
            crystal = validate(record)
            graph = build_graph(crystal, cutoff)
        except Rejected as reason:
            chunk.append(Item(record.id, path, next, error=str(reason)))
            continue
        size = len(graph.edges.src_E)
        nothing_yet = (
            not n_edges and len(chunk) >= LOG_EVERY
        )  # so many failures are written as well
        if nothing_yet or (n_edges and n_edges + size > edges_per_batch):
            yield chunk
            chunk, n_edges = [], 0
        chunk.append(Item(record.id, path, next, crystal, graph))
        n_edges += size
    if chunk:
        yield chunk


@torch.no_grad()
def predict_chunk(
    models: Sequence[TrainedModel], chunk: Sequence[Item], device: torch.device
) -> list[Row]:
    """The rows of a chunk. Its graphs have the maximal cutoff; each model gets graphs with its own."""
    valid = [(item.crystal, item.graph) for item in chunk if item.crystal and item.graph]
    targets = models[0].targets
    predictions_MGT = np.zeros((len(models), len(valid), len(targets)))
    max_cutoff = max(model.cutoff for model in models)
    for m, model in enumerate(models):
        if valid:
            graphs = [
                graph if model.cutoff == max_cutoff else build_graph(crystal, model.cutoff)
                for crystal, graph in valid
            ]
            dtype = next(model.network.parameters()).dtype
            output_BT = model.network(batch_graphs(graphs, dtype).to(device))
            predictions_MGT[m] = model.denormalise(output_BT).cpu().numpy()
    rows: list[Row] = []
    results = iter(zip(predictions_MGT.mean(0), spread(predictions_MGT), strict=True))
    for item in chunk:
        mean_T, spread_T = next(results) if item.graph else (None, None)
        for t, target in enumerate(targets):
            row: Row = {"id": item.id, "path": str(item.path), "property": target.name}
            row |= {"prediction": None, "unit": target.unit, "spread": None, "error": item.error}
            if mean_T is not None and spread_T is not None:
                if np.isfinite(mean_T[t]):
                    row["prediction"] = float(mean_T[t])
                    row["spread"] = None if np.isnan(spread_T[t]) else float(spread_T[t])
                else:
                    row["error"] = "the prediction is not a finite number"
            rows.append(row)
    return rows


def write_rows(rows: list[Row], out: Path, several: bool) -> None:
    """Write the rows as CSV or Parquet, by the suffix of ``out``."""
    kinds = {"id": pa.string(), "path": pa.string(), "property": pa.string()}
    kinds |= {"prediction": pa.float64(), "unit": pa.string(), "spread": pa.float64()}
    kinds |= {"abstained": pa.bool_(), "error": pa.string()}
    if not several:
        kinds.pop("property")
    columns = {name: [row[name] for row in rows] for name in kinds}
    table = pa.table(columns, schema=pa.schema(list(kinds.items())))
    if out.suffix == ".parquet":
        write_parquet(out, table)
        return
    with atomic_path(out) as temporary:
        pyarrow.csv.write_csv(table, temporary)
