"""The README's numbers are those of the results file."""

import importlib.util
import json

from conftest import ROOT


def load_script():
    spec = importlib.util.spec_from_file_location("default_run", ROOT / "benchmarks/default_run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_numbers_come_from_the_results_file():
    script = load_script()
    numbers = json.loads(script.RESULTS_FILE.read_text())
    text = script.README.read_text(encoding="utf-8")
    shown = text.split(script.BEGIN)[1].split(script.END)[0].strip()
    assert shown == script.rendered(numbers).strip(), (
        "run: python benchmarks/default_run.py --readme"
    )
