"""Predictions for the crystals in files (CIF, POSCAR, extxyz, Parquet), by one model or several."""

import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from dglframer import __version__
from dglframer.common.errors import UserError
from dglframer.data.sources.file_ids import file_ids
from dglframer.evaluation.ensemble import Ensemble, load_ensemble
from dglframer.evaluation.items import Position, Wanted, chunks
from dglframer.evaluation.partial_rows import PartialRows, description
from dglframer.evaluation.prediction_rows import (
    Row,
    check_suffix,
    columns,
    write_csv_rows,
    write_embeddings,
    write_rows,
)
from dglframer.evaluation.reader_processes import read_in_processes, usual_processes

log = logging.getLogger(__name__)

LOG_EVERY = 1000  # structures


class Reading(NamedTuple):
    """How files are read beside the prediction."""

    edges_per_batch: int = 200_000
    assume_periodic: bool = False
    workers: int | None = None  # processes; None: as many as there are cores without work


def predict_files(
    models: Sequence[str | Path],
    files: Sequence[Path],
    out: Path | None,
    device: torch.device,
    reading: Reading,
    abstain_above: float | None = None,
    embed: Path | None = None,
    strict: bool = False,
) -> int:
    """Write a row for each crystal to ``out`` (.csv or .parquet), in the order of the files.

    ``models``: names of shipped models, model directories, folders of such; together an ensemble.

    The columns are id, path, prediction (mean over the models), unit, spread, abstained, warning and
    error. If there
    are several targets, each has a row and the column ``property`` names it. For a crystal that cannot
    be predicted, ``error`` has the reason; the number of these rows is returned. If the spread of the
    models is above ``abstain_above`` (in the target's unit), ``abstained`` is true and there is no
    prediction. ``strict``: what has a warning is an error.
    ``embed``: a Parquet file for the vectors of one model. ``out`` None: CSV on standard output.
    A run that was killed goes on with what ``out``.partial (or ``embed``.partial) has. Raises UserError if
    the arguments or the models do not fit each other.
    """
    check_suffix(out, embed)
    ensemble = load_ensemble(models, device)
    if abstain_above is not None and len(ensemble.models) < 2:
        raise UserError("--abstain-above: a single model has no spread; give several (--model)")
    kinds = columns(several=len(ensemble.targets) > 1)
    if abstain_above is not None and len(ensemble.targets) > 1:
        raise UserError("--abstain-above: it takes models of one property, these predict several")
    if embed and len(ensemble.models) > 1:
        raise UserError("--embed: the vectors of several models do not mix; give one model")
    counts, place = Counter[str](), out or embed
    if place is None:
        parts = predicted(ensemble, files, (0, 0), reading)
        rows = (row for part, _ in parts for row in part)
        write_csv_rows(finished(rows, abstain_above, strict, counts), sys.stdout, kinds)
    else:
        settings = {"edges": reading.edges_per_batch, "device": device.type, "embed": bool(embed)}
        settings |= {"version": __version__, "threads": torch.get_num_threads()}
        settings |= {"assume_periodic": reading.assume_periodic}
        with PartialRows(place, description(ensemble.places, files, settings)) as partial:
            if partial.n_rows:
                log.info("goes on after %d rows in %s", partial.n_rows, partial.path)
            for part, position in predicted(
                ensemble, files, partial.position, reading, bool(embed)
            ):
                partial.append(part, position)
            write_rows(finished(partial.rows(), abstain_above, strict, counts), out, kinds)
            if embed:
                write_embeddings(partial.rows(), embed)
    numbers = [counts[name] for name in ("errors", "abstained", "warnings")]
    summary = "%d rows in %s, %d with an error, %d abstained, %d with a warning"
    log.info(summary, counts["rows"], out or "standard output", *numbers)
    return counts["errors"]


def predicted(
    ensemble: Ensemble,
    files: Sequence[Path],
    start: Position,
    reading: Reading,
    with_embedding: bool = False,
) -> Iterator[tuple[list[Row], Position]]:
    """The rows of a batch of structures after the other, each with where to go on after it."""
    wanted = Wanted(ensemble.cutoff, reading.assume_periodic)
    workers = reading.workers
    if workers is None:
        workers = usual_processes(files, torch.get_num_threads())
    if workers:
        log.info("processes that read the files: %d", workers)
    ids, n_done = file_ids(files), 0
    items = read_in_processes(files, ids, start, wanted, workers, reading.edges_per_batch)
    for chunk in chunks(items, reading.edges_per_batch):
        yield ensemble.rows(chunk, with_embedding), chunk[-1].next
        n_before, n_done = n_done, n_done + len(chunk)
        if n_done // LOG_EVERY > n_before // LOG_EVERY:
            log.info("%d structures", n_done)


def finished(
    rows: Iterable[Row], threshold: float | None, strict: bool, counts: Counter[str]
) -> Iterator[Row]:
    """The rows with ``abstained`` set, counted; where it is true there is no prediction.

    ``strict``: what has a warning gets it as its error, and no prediction.
    """
    for row in rows:
        if strict and row["warning"] and not row["error"]:
            row |= {"error": row["warning"], "prediction": None, "spread": None}
        spread = row["spread"]
        row["abstained"] = threshold is not None and spread is not None and spread > threshold
        if row["abstained"]:
            row["prediction"] = None
        counts["rows"] += 1
        counts["errors"] += row["error"] is not None
        counts["abstained"] += row["abstained"]
        counts["warnings"] += row["warning"] is not None
        yield row
