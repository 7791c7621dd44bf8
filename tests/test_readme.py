"""The numbers in README.md and docs/ are those of the results files."""

import importlib.util
import json

from conftest import ROOT


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_numbers_come_from_the_results_file():
    script = load_script("default_run")
    numbers = json.loads(script.RESULTS_FILE.read_text())
    text = script.README.read_text(encoding="utf-8")
    shown = text.split(script.BEGIN)[1].split(script.END)[0].strip()
    assert shown == script.rendered(numbers).strip(), (
        "run: python benchmarks/default_run.py --readme"
    )


def test_tables_of_the_speed_page_come_from_the_results_file():
    tables = load_script("speed_tables")
    numbers = json.loads((ROOT / "benchmarks" / "results" / "speed.json").read_text())
    text = tables.PAGE.read_text(encoding="utf-8")
    shown = text.split(tables.BEGIN)[1].split(tables.END)[0].strip()
    assert shown == tables.rendered(numbers).strip(), "run: python benchmarks/speed.py --page"


def test_the_page_of_ties_comes_from_the_results_file(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    ties = load_script("ties")
    numbers = json.loads(ties.RESULTS_FILE.read_text())
    assert ties.PAGE.read_text(encoding="utf-8") == ties.page(numbers), (
        "run: python benchmarks/ties.py --page"
    )


def test_the_table_of_the_failure_drills_comes_from_the_results_file():
    script = load_script("failure_drills")
    numbers = json.loads(script.RESULTS_FILE.read_text())
    text = script.PAGE.read_text(encoding="utf-8")
    shown = text.split(script.BEGIN)[1].split(script.END)[0].strip()
    assert shown == script.rendered(numbers).strip(), (
        "run: python benchmarks/failure_drills.py --page"
    )
    assert all(row["same"] for row in numbers["drills"])


def test_the_table_of_precisions_comes_from_the_results_file():
    script = load_script("precision")
    numbers = json.loads(script.RESULTS_FILE.read_text())
    text = script.PAGE.read_text(encoding="utf-8")
    shown = text.split(script.BEGIN)[1].split(script.END)[0].strip()
    assert shown == script.rendered(numbers).strip(), "run: python benchmarks/precision.py --page"
