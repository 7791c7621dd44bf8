"""The default recipe on 50 crystals of several data sets: it ends, learns and does not diverge."""

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import SHARED, needs_shared
from helpers.stages import WITHOUT_TUNING as STAGES

from dglframer.cli import main as cli
from dglframer.common.files import write_json
from dglframer.common.parquet import read_parquet, write_parquet
from dglframer.data.split import write_split
from dglframer.training.metrics import read_metrics

ROWS = {"train": 50, "val": 20, "test": 1}
DATA_SETS = {
    "embedded": {},
    "band gap": {"path": "mp_megnet.parquet", "targets": ["band_gap_pbe"]},
    "moduli": {
        "path": "mp_elasticity.parquet",
        "targets": ["bulk_modulus_vrh", "shear_modulus_vrh"],
        "target_transforms": {"bulk_modulus_vrh": "log10", "shear_modulus_vrh": "log10"},
        "max_rejected_fraction": 0.1,
    },
    "molecules": {"source": "qm9", "targets": ["Polarizability_bohr3", "HOMO_LUMO_gap_au"]},
}
CASES = [
    pytest.param(name, marks=needs_shared if "path" in settings else ())
    for name, settings in DATA_SETS.items()
]


def dataset(name: str) -> dict[str, object]:
    """The section of a data set, its path made whole."""
    settings = DATA_SETS[name]
    if "path" not in settings:
        return settings
    return settings | {"source": "parquet", "path": str(SHARED / "data" / settings["path"])}


def run(monkeypatch, *stages: str) -> None:
    for stage in stages:
        monkeypatch.setattr(sys, "argv", ["dglframer", stage, *STAGES[stage].split()])
        assert cli.main() == 0


def draw(seed: int) -> None:
    """Cut the crystals down to a few labelled ones, with a split."""
    table = read_parquet("crystals.parquet")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(table))[: sum(ROWS.values())])
    table = table.take(chosen)
    write_parquet("crystals.parquet", table)
    parts = [part for part, rows in ROWS.items() for _ in range(rows)]
    ids = np.random.default_rng(seed).permutation(table["id"].to_pylist()).tolist()
    write_split(dict(zip(ids, parts, strict=True)), "split.parquet")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("frame", ["none", "max"])
@pytest.mark.parametrize("name", CASES)
def test_fifty_crystals_are_learned_without_divergence(name, frame, seed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pooling = "sum" if name == "molecules" else "mean"  # as the preset of QM9
    network = {"frame": frame, "pooling": pooling}
    config = {"crystalframer": network, "training": {"epochs": 20}}
    write_json("config.json", config | {"dataset": dataset(name)})
    run(monkeypatch, "download", "crystals")
    draw(seed)
    run(monkeypatch, "graphs", "train")
    lines = read_metrics(Path("model"))
    assert len(lines) == 20 and sum(line["nonfinite_steps"] for line in lines) == 0
    losses = np.array([[line["train_loss"], line["val_loss"]] for line in lines])
    assert np.isfinite(losses).all()
    assert losses.max() < 1.5 * losses[0].max()
    assert losses[-1, 0] < 0.75 * losses[0, 0]
    assert losses[-1, 1] < 1.1 * losses[0, 1]
