"""Elements that no training crystal had: a warning, an error under --strict, errors apart."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.crystals import POSCAR
from helpers.models import make_model

from dglframer.cli import main as cli
from dglframer.evaluation.known_elements import (
    errors_by_elements,
    known_to,
    unknown_elements,
    warning,
)
from dglframer.networks.model_directory import load_model


def with_elements(folder: Path, elements: dict | None) -> Path:
    """The model directory with other training elements."""
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"training_elements": elements}))
    return folder


@pytest.fixture
def models(tmp_path) -> list[Path]:
    stated = [{"Cs": 3, "Cl": 9, "O": 1}, {"Cs": 2, "Cl": 8, "Na": 4}]
    return [
        with_elements(make_model(tmp_path / "models" / f"seed-{k}", k), one)
        for k, one in enumerate(stated)
    ]


def test_an_ensemble_knows_what_all_of_its_members_know(models, tmp_path):
    loaded = [load_model(folder) for folder in models]
    assert known_to(loaded) == {"Cs", "Cl"}
    silent = load_model(with_elements(make_model(tmp_path / "old"), None))
    assert known_to([loaded[0], silent]) == {"Cs", "Cl", "O"}
    assert known_to([silent]) is None


def test_unknown_elements_are_named_in_order_of_number():
    numbers_N = np.array([54, 94, 8, 94])
    assert unknown_elements(numbers_N, frozenset({"O"})) == ["Xe", "Pu"]
    assert unknown_elements(numbers_N, None) == []
    assert warning(["Xe", "Pu"]) == "not in the training crystals: Xe, Pu"
    assert warning([]) is None


def test_errors_stand_apart_and_missing_labels_do_not_count():
    target_G = np.array([1.0, 2.0, np.nan, 4.0, np.nan])
    found = errors_by_elements(
        target_G, np.full(5, 1.0), np.array([False, True, True, False, False])
    )
    assert found["known"] == {"crystals": 2, "mae": 1.5}
    assert found["unknown"] == {"crystals": 1, "mae": 1.0}
    none = errors_by_elements(target_G, target_G, np.zeros(5, bool))
    assert none["unknown"] == {"crystals": 0, "mae": None}


def rows(tmp_path, monkeypatch, *options: str) -> tuple[int, list[dict]]:
    """The exit status and the rows of a prediction of two crystals, one with potassium."""
    for name, salt in (("known", "Cs Cl"), ("strange", "K Cl")):
        (tmp_path / f"{name}.vasp").write_text(POSCAR.format("x").replace("Cs Cl", salt))
    out = tmp_path / f"out{len(options)}.parquet"
    words = [tmp_path / "models", tmp_path / "known.vasp", tmp_path / "strange.vasp"]
    words += ["--out", out, "--device", "cpu", *options]
    monkeypatch.setattr(sys, "argv", ["dglframer", "predict", *map(str, words)])
    status = cli.main()
    return status, pq.read_table(out).to_pylist()


def test_a_prediction_of_a_strange_crystal_has_a_warning(models, tmp_path, monkeypatch):
    status, (known, strange) = rows(tmp_path, monkeypatch)
    assert status == 0
    assert known["warning"] is None and strange["warning"] == "not in the training crystals: K"
    assert strange["prediction"] is not None and strange["error"] is None


def test_strict_refuses_it(models, tmp_path, monkeypatch):
    status, (known, strange) = rows(tmp_path, monkeypatch, "--strict")
    assert status == 1
    assert known["prediction"] is not None and known["error"] is None
    assert strange["prediction"] is None and strange["spread"] is None
    assert strange["error"] == "not in the training crystals: K"
