"""tools/ship_model.py: from a results folder to an entry of the registry, and a card."""

import importlib
import json
import re
import runpy
import shutil

import pytest
import torch
from helpers.crystals import TINY_CUTOFF
from helpers.models import make_model
from helpers.paths import ROOT
from safetensors.torch import load_file

import dglframer
from dglframer.common.files import write_json
from dglframer.evaluation.evaluate import evaluate
from dglframer.networks.model_directory import load_model
from dglframer.pretrained import registry

TARGETS = ("formation_energy_peratom", "optb88vdw_bandgap")


@pytest.fixture
def results(tiny_run, tmp_path):
    """A results folder with two seeds, and a docs folder with an index."""
    folder = tmp_path / "results"
    shutil.copytree(tiny_run.graphs, folder / "graphs")
    shutil.copyfile(tiny_run.split, folder / "split.parquet")
    models = [
        make_model(folder / "models" / f"seed-{k}", k, TINY_CUTOFF, "eV/atom", TARGETS)
        for k in (0, 1)
    ]
    evaluate(
        folder / "graphs", folder / "split.parquet", models, folder / "evaluation",
        torch.device("cpu"),
    )  # fmt: skip
    download = {"source": "minerals", "licence": "public domain", "citation": "Choudhary (2020)"}
    write_json(folder / "download.json", download)
    (tmp_path / "docs").mkdir()
    shutil.copyfile(ROOT / "docs" / "README.md", tmp_path / "docs" / "README.md")
    return folder


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_a_model_is_shipped_under_two_names(results, tmp_path, monkeypatch, precision):
    monkeypatch.syspath_prepend(ROOT / "tools")
    tool = runpy.run_path(str(ROOT / "tools" / "ship_model.py"))
    ship = tool["ship"]
    ship.__globals__["TOLERANCE"] = 1.0 if precision == "float16" else 0.0
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "registry.json").write_text("{}")
    monkeypatch.setattr(registry, "FOLDER", tmp_path / "package")
    names = {"energy": TARGETS[0], "gap": TARGETS[1]}
    for _ in range(2):  # again: nothing is doubled
        texts = {"licence": "CC BY 4.0"}
        ship(results, "tiny", names, texts, tmp_path / "docs", ["Seed 1 was trained twice."])
    entries = registry.shipped()
    metrics = json.loads((results / "evaluation" / "metrics.json").read_text())["targets"]
    for name, target in names.items():
        one = entries[name]
        assert (one.precision, one.licence, one.training_data) == (
            precision,
            "CC BY 4.0",
            "minerals",
        )
        assert one.test_mae == metrics[target]["splits"]["test"]["mae"] and one.test_crystals == 3
        assert one.elements and len(one.members()) == 2
        description = json.loads((one.members()[1] / "model.json").read_text())
        assert tuple(description["training_elements"]) == one.elements
        weights = load_file(one.members()[0] / "model.safetensors")
        assert {str(tensor.dtype) for tensor in weights.values()} == {f"torch.{precision}"}
        card = (tmp_path / "docs" / "models" / f"{name}.md").read_text()
        assert f"| test | 3 | {one.test_mae:.4g} |" in card and "Choudhary (2020)" in card
        assert "\n- Seed 1 was trained twice.\n" in card
        assert card.count("\n- Recipe of seed ") == 1 and "`{encoder: crystalframer, " in card
    assert (tmp_path / "docs" / "README.md").read_text().count("(models/energy.md)") == 1

    shipped, trained = dglframer.load("gap"), dglframer.load(results / "models")
    structure = {"lattice_mat": [[4.2, 0, 0], [0, 4.2, 0], [0, 0, 4.2]], "cartesian": False}
    structure |= {"coords": [[0, 0, 0], [0.5, 0.5, 0.5]], "elements": ["Cs", "Cl"]}
    mine, theirs = shipped.predict(structure), trained.predict(structure)
    assert (
        not mine["low"].isna()[0] or theirs["low"].isna()[1]
    )  # with its interval, if there is one
    tolerance = 2e-2 if precision == "float16" else 1e-6
    assert mine["prediction"][0] == pytest.approx(theirs["prediction"][1], abs=tolerance)


@pytest.mark.parametrize(
    ("start", "named"),
    [
        ("mp_formation_energy_and_band_gap", "band_gap"),
        ("/elsewhere/pretrained/mp_formation_energy_and_band_gap/seed-0", "band_gap"),
        ("/elsewhere/results/models/seed-0", "seed-0"),
    ],
)
def test_a_start_is_named_without_the_path_of_a_machine(monkeypatch, tmp_path, start, named):
    """In the stored model, and so on its card."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    tool = runpy.run_path(str(ROOT / "tools" / "ship_model.py"))
    folder = make_model(tmp_path / "seed-3", 3)
    content = json.loads((folder / "model.json").read_text())
    content["history"]["training"] = {"init_from": start}
    write_json(folder / "model.json", content)
    tool["without_paths"](folder / "model.json")
    model = load_model(folder)
    assert model.history["training"]["init_from"] == named
    (point,) = importlib.import_module("ship_pages").recipe_points([model])
    assert f"training: {{init_from: {named}}}" in point and "/elsewhere" not in point


def test_what_is_shipped_says_no_path():
    """Neither a description nor a card."""
    pages = [*(ROOT / "docs" / "models").glob("*.md"), *registry.FOLDER.glob("*/*/model.json")]
    said = [
        path.name for path in pages if re.search(r'init_from"?: "?[^\s,}"]*/', path.read_text())
    ]
    assert len(pages) > 10 and said == []
