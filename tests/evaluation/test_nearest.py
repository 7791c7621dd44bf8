"""The training crystals nearest to each test crystal."""

from pathlib import Path

import numpy as np
import pytest

from dglframer.common.parquet import write_parquet
from dglframer.evaluation import nearest
from dglframer.evaluation.nearest import closest, nearest_table, read_nearest


def test_the_nearest_are_those_of_all_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "BLOCK_VALUES", 100)  # several blocks
    rng = np.random.default_rng(0)
    from_GW, to_TW = rng.normal(size=(13, 5)), rng.normal(size=(40, 5))
    places, distances = closest(from_GW, to_TW, 3)
    every = np.linalg.norm(from_GW[:, None] - to_TW, axis=2)
    assert places.tolist() == np.argsort(every, axis=1)[:, :3].tolist()
    assert distances == pytest.approx(np.sort(every, axis=1)[:, :3], abs=1e-6)


def test_distances_are_in_units_of_the_usual_one(tmp_path: Path) -> None:
    ids = ["a", "b", "v", "t"]
    splits = np.array(["train", "train", "val", "test"])
    vectors = np.array([[0.0], [10.0], [2.0], [9.0]])
    write_parquet(tmp_path / "nearest.parquet", nearest_table(ids, splits, vectors))
    assert read_nearest(tmp_path / "nearest.parquet") == {"t": [("b", 0.5), ("a", 4.5)]}


def test_an_older_evaluation_has_none(tmp_path: Path) -> None:
    assert read_nearest(tmp_path / "nearest.parquet") == {}
