"""Predictions for the crystals in files (CIF, POSCAR, extxyz, Parquet), by one model or several."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from dglframer import __version__
from dglframer.common.errors import UserError
from dglframer.data.sources.file_ids import file_ids
from dglframer.evaluation.ensemble import load_ensemble
from dglframer.evaluation.items import Wanted, chunks
from dglframer.evaluation.partial_rows import PartialRows, description
from dglframer.evaluation.prediction_rows import Row, check_suffix, columns, write_rows
from dglframer.evaluation.reader_processes import read_in_processes, usual_processes

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
    workers: int | None = None,
) -> int:
    """Write a row for each crystal to ``out`` (.csv or .parquet), in the order of the files.

    The columns are id, path, prediction (mean over the models), unit, spread, abstained and error. If there
    are several targets, each has a row and the column ``property`` names it. For a crystal that cannot
    be predicted, ``error`` has the reason; the number of these rows is returned. If the spread of the
    models is above ``abstain_above`` (in the target's unit), ``abstained`` is true and there is no
    prediction. ``workers``: processes that read files beside the prediction; None: as many as there are
    cores without work. They change no number. A run that was killed goes on with what ``out``.partial
    has. Raises UserError if the arguments or the models do not fit each other.
    """
    check_suffix(out)
    if abstain_above is not None and len(model_folders) < 2:
        raise UserError("--abstain-above: a single model has no spread; give several (--model)")
    ensemble = load_ensemble(model_folders, device)
    several = len(ensemble.targets) > 1
    if abstain_above is not None and several:
        raise UserError("--abstain-above: it takes models of one property, these predict several")
    settings = {"edges": edges_per_batch, "device": device.type, "version": __version__}
    settings |= {"assume_periodic": assume_periodic, "threads": torch.get_num_threads()}
    wanted = Wanted(ensemble.cutoff, assume_periodic)
    n_structures, counts = 0, Counter[str]()
    with PartialRows(out, description(model_folders, files, settings)) as partial:
        if partial.n_rows:
            log.info("goes on after %d rows in %s", partial.n_rows, partial.path)
        if workers is None:
            workers = usual_processes(files, torch.get_num_threads())
        if workers:
            log.info("%d processes read the files", workers)
        ids, start = file_ids(files), partial.position
        items = read_in_processes(files, ids, start, wanted, workers, edges_per_batch)
        for chunk in chunks(items, edges_per_batch):
            partial.append(ensemble.rows(chunk), chunk[-1].next)
            n_before, n_structures = n_structures, n_structures + len(chunk)
            if n_structures // LOG_EVERY > n_before // LOG_EVERY:
                log.info("%d structures", n_structures)
        write_rows(finished(partial.rows(), abstain_above, counts), out, columns(several))
    summary = "%d rows in %s, %d with an error, %d abstained"
    log.info(summary, counts["rows"], out, counts["errors"], counts["abstained"])
    return counts["errors"]


def finished(rows: Iterable[Row], threshold: float | None, counts: Counter[str]) -> Iterator[Row]:
    """The rows with ``abstained`` set, counted; where it is true there is no prediction."""
    for row in rows:
        spread = row["spread"]
        row["abstained"] = threshold is not None and spread is not None and spread > threshold
        if row["abstained"]:
            row["prediction"] = None
        counts["rows"] += 1
        counts["errors"] += row["error"] is not None
        counts["abstained"] += row["abstained"]
        yield row
