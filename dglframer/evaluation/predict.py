"""Predictions for the crystals in files (CIF, POSCAR, extxyz, Parquet), by one model or several."""

import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from dglframer.common.progress import Advance, progress
from dglframer.common.version import __version__
from dglframer.data.sources.file_ids import file_ids
from dglframer.evaluation.demands import NO_DEMANDS, Demands, check_demands, finished
from dglframer.evaluation.ensemble import Ensemble, load_ensemble
from dglframer.evaluation.intervals import find_intervals
from dglframer.evaluation.items import Item, Position, Wanted, chunks
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
from dglframer.graphs.batch import EDGES_PER_BATCH

log = logging.getLogger(__name__)

LOG_EVERY = 1000  # structures


class Reading(NamedTuple):
    """How files are read beside the prediction."""

    edges_per_batch: int = EDGES_PER_BATCH
    assume_periodic: bool = False
    workers: int | None = None  # processes; None: as many as there are cores without work


def predict_files(
    models: Sequence[str | Path],
    files: Sequence[Path],
    out: Path | None,
    device: torch.device,
    reading: Reading,
    demands: Demands = NO_DEMANDS,
    embed: Path | None = None,
) -> int:
    """Write a row for each crystal to ``out`` (.csv or .parquet), in the order of the files.

    ``models``: names of shipped models, model directories, folders of such; together an ensemble.

    The columns are id, path, prediction (mean over the models), unit, spread, low and high (the interval),
    abstained, warning and error. If there are several targets, each has a row and the column ``property``
    names it. For a crystal that cannot be predicted, ``error`` has the reason; the number of these rows is
    returned. ``embed``: a Parquet file for the first model's vectors. ``out`` None: CSV on standard output.
    A run that was killed goes on with what ``out``.partial (or ``embed``.partial) has. Raises UserError if
    the arguments or the models do not fit each other.
    """
    check_suffix(out, embed)
    ensemble = load_ensemble(models, device)
    intervals = find_intervals([place.folder for place in ensemble.places])
    check_demands(demands, ensemble, intervals)
    if not intervals:
        log.info("no intervals: no intervals.json of evaluate beside the models is of just these")
    kinds = columns(several=len(ensemble.targets) > 1)
    if embed and len(ensemble.models) > 1:
        log.info("%s: the vectors of the first of %d models", embed, len(ensemble.models))
    counts, place = Counter[str](), out or embed
    if place is None:
        parts = predicted(ensemble, files, (0, 0), reading)
        rows = (row for part, _ in parts for row in part)
        write_csv_rows(finished(rows, demands, intervals, counts), sys.stdout, kinds)
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
            write_rows(finished(partial.rows(), demands, intervals, counts), out, kinds)
            if embed:
                write_embeddings(partial.rows(), embed)
    numbers = [counts[name] for name in ("errors", "abstained", "warnings")]
    summary = "%d row%s in %s, %d with an error, %d abstained, %d with a warning"
    plural = "" if counts["rows"] == 1 else "s"
    log.info(summary, counts["rows"], plural, out or "standard output", *numbers)
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
    with progress("files", len(files)) as advance:
        for chunk in chunks(counted(items, advance), reading.edges_per_batch):
            yield ensemble.rows(chunk, with_embedding), chunk[-1].next
            n_before, n_done = n_done, n_done + len(chunk)
            if n_done // LOG_EVERY > n_before // LOG_EVERY:
                log.info("%d structures", n_done)


def counted(items: Iterable[Item], advance: Advance) -> Iterator[Item]:
    """The items; the bar moves as they are read."""
    for count, item in enumerate(items, 1):
        advance(item.next[0], f"{count:,} structures")
        yield item
