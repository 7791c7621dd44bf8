"""metrics.jsonl: written epochs are read again; a message names a damaged file."""

import shutil
from pathlib import Path

import pytest

from dglframer.common.errors import DamagedFile
from dglframer.training.metrics import MetricsLog, read_metrics


def test_written_epochs_are_read_again(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", [{"epoch": 1, "val_loss": 0.5}])
    log.add({"epoch": 2, "val_loss": 0.25})
    assert (
        read_metrics(tmp_path)
        == log.lines
        == [
            {"epoch": 1, "val_loss": 0.5},
            {"epoch": 2, "val_loss": 0.25},
        ]
    )


def test_a_folder_that_was_removed_meanwhile_loses_no_epoch(tmp_path: Path) -> None:
    """As a second Snakemake does before its job finds out that the training lives."""
    log = MetricsLog(tmp_path / "seed-0" / "metrics.jsonl", [])
    log.add({"epoch": 1})
    shutil.rmtree(tmp_path / "seed-0")
    log.add({"epoch": 2})
    assert read_metrics(tmp_path / "seed-0") == [{"epoch": 1}, {"epoch": 2}]


@pytest.mark.parametrize("content", [None, "", '{"epoch": 1}\n{"epo'])
def test_damaged_metrics_are_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    with pytest.raises(DamagedFile, match=r"metrics\.jsonl"):
        read_metrics(tmp_path)
