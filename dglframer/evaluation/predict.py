"""Predictions for the crystals in files (CIF, POSCAR, extxyz, Parquet), by one model or several."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch

from dglframer.common.errors import Rejected, UserError
from dglframer.common.files import atomic_path
from dglframer.common.parquet import write_parquet
from dglframer.evaluation.evaluate import spread
from dglframer.graphs.batch import batch_graphs
from dglframer.networks.model_directory import TrainedModel, load_model
from dglframer.structures.crystal import Crystal, Record, validate
from dglframer.structures.periodic_graph import PeriodicGraph, build_graph

log = logging.getLogger(__name__)

Row = dict[str, Any]


def predict_files(
    model_folders: Sequence[Path],
    files: Sequence[Path],
    out: Path,
    device: torch.device,
    edges_per_batch: int,
    abstain_above: float | None = None,
) -> int:
    """Write a row for each crystal to ``out`` (.csv or .parquet), in the order of the files.

    The columns are id, prediction (mean over the models), unit, spread, abstained and error. If there
    are several targets, each has a row and the column ``property`` names it. For a crystal that cannot
    be predicted, ``error`` has the reason; the number of these rows is returned. If the spread of the
    models is above ``abstain_above`` (in the target's unit), ``abstained`` is true and there is no
    prediction. Raises UserError if the arguments or the models do not fit each other.
    """
    if abstain_above is not None and len(model_folders) < 2:
        raise UserError("--abstain-above: a single model has no spread; give several (--model)")
    if out.suffix not in (".csv", ".parquet"):
        raise UserError(f"--out {out}: the name must end in .csv or .parquet")
    models = [load_model(folder, str(device)) for folder in model_folders]
    check_same_targets(models, model_folders)
    if abstain_above is not None and len(models[0].targets) > 1:
        raise UserError("--abstain-above: it takes models of one property, these predict several")
    rows: list[Row] = []
    for chunk in chunks(read_records(files), max(m.cutoff for m in models), edges_per_batch):
        rows += predict_chunk(models, chunk, device)
        log.info("%d predicted", len(rows))
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


def read_records(files: Sequence[Path]) -> Iterator[Record]:
    """The crystals of structure files and Parquet files; an unreadable one has a ``problem``."""
    from dglframer.data.sources.file_ids import file_ids
    from dglframer.data.sources.structure_files import read_structure_file

    for path, id in zip(files, file_ids(files), strict=True):
        if not path.is_file():
            yield Record(id, problem="no such file")
        elif path.suffix == ".parquet":
            from dglframer.data.sources.parquet import ParquetSource

            yield from ParquetSource(path, {}).records()
        else:
            yield from read_structure_file(path, id)


Item = tuple[str, Crystal | None, PeriodicGraph | None, str | None]


def chunks(records: Iterable[Record], cutoff: float, edges_per_batch: int) -> Iterator[list[Item]]:
    """Lists of (id, crystal, graph, error) of at most ``edges_per_batch`` edges, or of one crystal."""
    chunk: list[Item] = []
    n_edges = 0
    for record in records:
        try:
            crystal = validate(record)
            graph = build_graph(crystal, cutoff)
        except Rejected as reason:
            chunk.append((record.id, None, None, str(reason)))
            continue
        size = len(graph.edges.src_E)
        if n_edges and n_edges + size > edges_per_batch:
            yield chunk
            chunk, n_edges = [], 0
        chunk.append((record.id, crystal, graph, None))
        n_edges += size
    if chunk:
        yield chunk


@torch.no_grad()
def predict_chunk(
    models: Sequence[TrainedModel], chunk: Sequence[Item], device: torch.device
) -> list[Row]:
    """The rows of a chunk. Its graphs have the maximal cutoff; each model gets graphs with its own."""
    valid = [(crystal, graph) for _, crystal, graph, _ in chunk if crystal and graph]
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
    for id, _, graph, error in chunk:
        mean_T, spread_T = next(results) if graph else (None, None)
        for t, target in enumerate(targets):
            row: Row = {"id": id, "property": target.name, "unit": target.unit, "error": error}
            row |= {"prediction": None, "spread": None}
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
    kinds = {"id": pa.string(), "property": pa.string(), "prediction": pa.float64()}
    kinds |= {"unit": pa.string(), "spread": pa.float64(), "abstained": pa.bool_()}
    kinds |= {"error": pa.string()}
    if not several:
        kinds.pop("property")
    columns = {name: [row[name] for row in rows] for name in kinds}
    table = pa.table(columns, schema=pa.schema(list(kinds.items())))
    if out.suffix == ".parquet":
        write_parquet(out, table)
        return
    with atomic_path(out) as temporary:
        pyarrow.csv.write_csv(table, temporary)
