"""Results as a contribution to the JARVIS leaderboard.

Its form is that of the leaderboard's repository: ``BENCHMARK.csv.zip`` with the columns id and prediction,
``metadata.json`` and ``run.sh``, in a folder of the contribution's name. The ids and labels of a benchmark
are in its ``DATA_PROPERTY.json.zip``, which the test predictions are compared with.
"""

import csv
import io
import json
import logging
import platform
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dglframer.common.errors import UserError
from dglframer.common.files import atomic_folder, read_json, read_json_lines, write_json
from dglframer.common.own_code import commit
from dglframer.common.parquet import read_parquet
from dglframer.common.version import __version__
from dglframer.config.reading import without_folders
from dglframer.data.sources.catalogue import BY_NAME
from dglframer.networks.archive import write_archive

log = logging.getLogger(__name__)

LABEL_TOLERANCE = 1e-3  # the benchmark's labels are those that were learned, but for rounding
OTHER_DATA = ("dft_2d", "qm9_std_jctc", "hmof")  # data sets of benchmarks that no source here has
STATED = ("team_name", "author_email", "project_url", "git_url")  # by whoever contributes

Rows = dict[str, tuple[float, float]]  # label and prediction by id


def export_leaderboard(
    results: Path, out: Path, benchmark: Path, target: str | None, about: Mapping[str, str]
) -> float:
    """Write the contribution for a benchmark into the new folder ``out``; returns its MAE.

    ``target``: the property, if the run has several; ``about``: values of STATED. Raises UserError if
    the test crystals are not exactly the benchmark's, or have other labels.
    """
    if out.exists():
        raise UserError(f"{out} is there already")
    title = title_of(benchmark)
    labels = benchmark_labels(benchmark)
    rows = test_rows(results, target)
    check_rows(rows, labels, benchmark)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "prediction"))
    writer.writerows((id, repr(rows[id][1])) for id in labels)
    with atomic_folder(out) as folder:
        write_archive(folder / f"{title}.zip", {title: text.getvalue().encode()})
        metadata = json.dumps(leaderboard_metadata(results, about), indent=4)
        (folder / "metadata.json").write_text(metadata + "\n", encoding="utf-8")
        write_json(folder / "config.json", without_folders(read_json(results / "config.json")))
        (folder / "run.sh").write_text(
            "#!/bin/bash\n# In a checkout of dglframer, with the configuration of this run beside its data.\n"
            "snakemake --cores all --configfile config.json\n",
            encoding="utf-8",
        )
    return sum(abs(rows[id][1] - label) for id, label in labels.items()) / len(labels)


def title_of(benchmark: Path) -> str:
    """The name of the table for a benchmark's file, as dft_3d_formation_energy_peratom.json.zip."""
    name = benchmark.name.removesuffix(".zip").removesuffix(".json")
    for data in sorted([*BY_NAME, *OTHER_DATA], key=len, reverse=True):
        if name.startswith(f"{data}_"):
            prop = name.removeprefix(f"{data}_")
            return f"AI-SinglePropertyPrediction-{prop}-{data}-test-mae.csv"
    raise UserError(
        f"{benchmark}: not named like a benchmark, as dft_3d_formation_energy_peratom.json.zip"
    )


def benchmark_labels(path: Path) -> dict[str, float]:
    """The labels of the test crystals by id, in the benchmark's order; raises UserError."""
    try:
        with zipfile.ZipFile(path) as archive:
            content = json.loads(archive.read(archive.namelist()[0]))
        return {str(id): float(label) for id, label in content["test"].items()}
    except (
        OSError,
        zipfile.BadZipFile,
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
    ) as error:
        raise UserError(f"{path}: not a benchmark's file of the leaderboard ({error!r})") from None


def test_rows(results: Path, target: str | None) -> Rows:
    """Label and prediction of the test crystals; raises UserError."""
    table = read_parquet(results / "evaluation" / "predictions.parquet").to_pylist()
    names = sorted({row["property"] for row in table})
    if target is None and len(names) > 1:
        raise UserError(f"--target is needed: the run has {', '.join(names)}")
    if target is not None and target not in names:
        raise UserError(f"--target {target}: the run has {', '.join(names)}")
    return {
        row["id"]: (row["target"], row["prediction"])
        for row in table
        if row["split"] == "test"
        and row["target"] is not None
        and target in (None, row["property"])
    }


def check_rows(rows: Rows, labels: Mapping[str, float], benchmark: Path) -> None:
    """Raise UserError unless the test crystals are the benchmark's, with its labels."""
    missing, more = labels.keys() - rows.keys(), rows.keys() - labels.keys()
    if missing or more:
        raise UserError(
            f"the benchmark {benchmark.name} has {len(labels)} test crystals, the run {len(rows)}: "
            f"{len(missing)} are missing (such as {min(missing, default='none')}), {len(more)} are "
            f"others (such as {min(more, default='none')}); split the data as the benchmark does"
        )
    for id, label in labels.items():
        if abs(rows[id][0] - label) > LABEL_TOLERANCE * max(1.0, abs(label)):
            raise UserError(f"{id}: its label is {rows[id][0]:g} here and {label:g} in {benchmark}")


def leaderboard_metadata(results: Path, about: Mapping[str, str]) -> dict[str, Any]:
    """metadata.json: what is known of the run, and empty texts for what its people did not say."""
    seconds = sum(
        line["train_seconds"] + line["val_seconds"]
        for path in sorted((results / "models").glob("*/metrics.jsonl"))
        for line in read_json_lines(path)
    )
    if empty := [key for key in STATED if not about.get(key)]:
        log.warning("metadata.json: fill in %s", ", ".join(empty))
    return {
        "model_name": "dglframer",
        **{key: about.get(key, "") for key in STATED},
        "date_submitted": datetime.now(UTC).strftime("%m-%d-%Y"),
        "time_taken_seconds": round(seconds, 1),
        "language": "python",
        "os": platform.system().lower(),
        "software_used": f"dglframer {__version__} {commit()}".strip(),
        "hardware_used": platform.processor() or platform.machine(),
    }
