"""Files of the stages that are well-formed and hold something else are refused by name."""

from pathlib import Path

import pyarrow as pa
import pytest

from dglframer.common.errors import DamagedFile
from dglframer.common.files import write_json
from dglframer.common.parquet import write_parquet
from dglframer.config.training import TrainingConfig
from dglframer.data.sources import verify
from dglframer.data.split import read_split
from dglframer.graphs.shards import read_manifest
from dglframer.networks.model_directory import load_model
from dglframer.report.plots import learning_curve_plot
from dglframer.training.prepare import origin

READERS = {
    "manifest.json": lambda path: read_manifest(path.parent),
    "download.json": verify,
    "model.json": lambda path: load_model(path.parent),
}


@pytest.mark.parametrize("content", [{}, [], None, {"format_version": 2}])
@pytest.mark.parametrize("name", READERS)
def test_json_of_something_else_is_refused_by_name(tmp_path, name, content):
    write_json(tmp_path / name, content)
    with pytest.raises(DamagedFile, match=rf"{name}: not a file of this program, it has no \w"):
        READERS[name](tmp_path / name)


def test_a_description_without_its_weights_or_targets_is_refused_by_name(tmp_path):
    write_json(tmp_path / "model.json", {"format_version": 2})
    with pytest.raises(DamagedFile, match=r"model\.json: .* no weights_sha256"):
        origin(TrainingConfig(init_from=str(tmp_path)))
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(DamagedFile, match=r"model\.json: .* no targets"):
        learning_curve_plot([tmp_path], tmp_path / "curve.svg")


@pytest.mark.parametrize("columns", [{"id": ["a"]}, {"split": ["train"]}])
def test_a_split_without_its_columns_is_refused_by_name(tmp_path, columns):
    path: Path = tmp_path / "split.parquet"
    write_parquet(path, pa.table(columns))
    with pytest.raises(DamagedFile, match=r"split\.parquet: "):
        read_split(path)
