"""What the report is made from: the files of the stages, read and held against each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dglframer.common.elements import element_counts
from dglframer.common.errors import DamagedFile
from dglframer.common.files import read_json
from dglframer.common.parquet import read_parquet
from dglframer.config import load_config
from dglframer.data.crystals import crystal_rows
from dglframer.data.split import SPLITS
from dglframer.evaluation.known_elements import unknown_elements
from dglframer.evaluation.nearest import read_nearest
from dglframer.graphs.shards import read_manifest
from dglframer.networks.model_directory import TRAINED_ON, read_description
from dglframer.report import plots
from dglframer.structures.symmetry import system_of
from dglframer.training.metrics import read_metrics


@dataclass(frozen=True)
class Inputs:
    """Paths of the stages' files; ``tuned`` (best.json) is None if tuning is off."""

    config: Path
    download: Path
    crystals: Path
    rejected: Path
    checks: Path
    inspection: Path
    split: Path
    leakage: Path
    graphs: Path
    models: Sequence[Path]
    evaluation: Path
    tuned: Path | None = None
    learning_curve: Path | None = None  # table.json
    benchmarks: Path | None = None  # the workflow's measurements: a .tsv of each job


class ReportData:
    """The content of the stages' files. Raises DamagedFile if the evaluation has another split."""

    def __init__(self, inputs: Inputs):
        self.inputs = inputs
        self.config = load_config(inputs.config)
        self.download = read_json(
            inputs.download, "source", "licence", "citation", "notes", "files"
        )
        self.crystals = read_parquet(inputs.crystals)
        self.rejected = read_parquet(inputs.rejected)
        split = read_parquet(inputs.split)
        self.split = dict(zip(split["id"].to_pylist(), split["split"].to_pylist(), strict=True))
        self.left_out = split.filter(pc.invert(pc.is_in(split["split"], pa.array(SPLITS))))
        self.inspection = read_json(inputs.inspection, "crystals", "elements", "labels")
        self.leakage = read_json(inputs.leakage)
        self.manifest = read_manifest(inputs.graphs)
        self.best = read_json(inputs.tuned, "params") if inputs.tuned else None
        self.trials = read_json(inputs.tuned.parent / "trials.json") if inputs.tuned else []
        self.models = [read_description(folder).model_dump() for folder in inputs.models]
        self.trained_on = [optional(Path(one) / TRAINED_ON) or {} for one in inputs.models]
        self.epochs = {
            f"seed {model['history']['seed']}": read_metrics(folder)
            for model, folder in zip(self.models, inputs.models, strict=True)
        }
        self.metrics = read_json(inputs.evaluation / "metrics.json", "targets")
        self.predictions = plots.read_predictions(inputs.evaluation / "predictions.parquet")
        self.structures = {row[0]: row[1:] for row in crystal_rows(self.crystals)}
        used = {id: part for id, part in self.split.items() if part in SPLITS}
        evaluated = {
            id: part
            for one in self.predictions.values()  # each without the crystals that lack its label
            for id, part in zip(one.ids, one.split, strict=True)
        }
        if evaluated != used:
            raise DamagedFile(
                f"{inputs.evaluation}: made with another split than {inputs.split}; "
                "run evaluate again"
            )
        tests = [id for id, part in used.items() if part == "test"]
        checks = read_parquet(inputs.checks, columns=["id", "space_group"])
        groups = dict(zip(*(column.to_pylist() for column in checks.columns), strict=True))
        self.systems = {
            id: system_of(groups[id]) if self.has_lattice(id) else "molecule" for id in tests
        }
        trained = (self.structures[id][0] for id, part in used.items() if part == "train")
        self.training_elements = element_counts(trained)
        known = frozenset(self.training_elements)
        self.strange = {id: unknown_elements(self.structures[id][0], known) for id in tests}
        self.nearest = read_nearest(inputs.evaluation / "nearest.parquet")
        self.curve = optional(inputs.learning_curve)

    def has_lattice(self, id: str) -> bool:
        """Whether it is a crystal, no molecule."""
        return self.structures[id][1] is not None


def optional(path: Path | None) -> Any:
    """The content of a file of JSON that need not be there, or None."""
    return read_json(path) if path is not None and path.is_file() else None
