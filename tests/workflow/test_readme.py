"""The numbers in README.md and docs/ are those of the results files."""

import importlib
import json

import pytest
from helpers.paths import ROOT


@pytest.fixture
def load_script(monkeypatch):
    """Import a module of the benchmarks folder, which is no package."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("default_run", "default_run.py --readme"),
        ("speed_tables", "speed.py --page"),
        ("graphs", "graphs.py --page"),
        ("scale", "scale.py --page"),
        ("failure_drills", "failure_drills.py --page"),
        ("precision", "precision.py --page"),
        ("compare", "compare.py --page"),
        ("qm9", "qm9.py --page"),
        ("se3", "se3.py --page"),
        ("nbody", "nbody.py --page"),
        ("shapes", "shapes.py --page"),
        ("predict", "predict.py --page"),
        ("unseen_elements", "unseen_elements.py --page"),
        ("proof", "proof.py --page"),
        ("ensembles", "ensembles.py --page"),
        ("recipe", "recipe.py --page"),
        ("pretraining", "pretraining.py --page"),
        ("several_targets", "several_targets.py --page"),
    ],
)
def test_the_part_of_a_page_comes_from_the_results_file(load_script, name, command):
    script = load_script(name)
    numbers = json.loads(script.RESULTS_FILE.read_text())
    text = script.PAGE.read_text(encoding="utf-8")
    shown = text.split(script.BEGIN)[1].split(script.END)[0].strip()
    assert shown == script.rendered(numbers).strip(), f"run: python benchmarks/{command}"


def test_the_page_of_ties_comes_from_the_results_file(load_script):
    ties = load_script("ties")
    numbers = json.loads(ties.RESULTS_FILE.read_text())
    assert ties.PAGE.read_text(encoding="utf-8") == ties.page(numbers), (
        "run: python benchmarks/ties.py --page"
    )


def test_every_drill_ended_in_the_same_files(load_script):
    numbers = json.loads(load_script("failure_drills").RESULTS_FILE.read_text())
    assert numbers["drills"] and all(row["same"] for row in numbers["drills"])


def test_filling_a_page_twice_changes_what_is_between_the_markers_alone(load_script, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<begin>\nold\n<end>\nafter\n")
    for _ in range(2):
        load_script("pages").fill(page, "<begin>", "<end>", "new\n")
        assert page.read_text() == "before\n<begin>\n\nnew\n\n<end>\nafter\n"


def test_the_tables_of_the_page_on_choosing_come_from_the_stored_results(load_script):
    choosing = load_script("choosing")
    text = choosing.PAGE.read_text(encoding="utf-8")
    shown = text.split(choosing.BEGIN)[1].split(choosing.END)[0].strip()
    assert shown == choosing.rendered().strip(), "run: python benchmarks/choosing.py"
