"""The notebook of the first model runs from its first cell to its last, on a few crystals."""

import json
import os
import re
import subprocess
import sys

import pytest
from helpers.paths import ROOT

NOTEBOOK = ROOT / "docs" / "guide" / "first_model.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]
TINY = "n_crystals, epochs = 30, 1"


def is_parameters(cell) -> bool:
    return "parameters" in cell["metadata"].get("tags", [])


def test_one_cell_says_how_much_is_computed():
    (cell,) = filter(is_parameters, CODE)
    assert re.fullmatch(r"n_crystals, epochs = \d+, \d+", "".join(cell["source"]))


def test_it_runs(tmp_path):
    """A plain Python runs the cells as one program: no magics are in them, and no kernel is needed."""
    sources = [TINY if is_parameters(cell) else "".join(cell["source"]) for cell in CODE]
    (tmp_path / "cells.py").write_text("\n\n".join(sources), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, "cells.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("30 crystals")
    errors = re.findall(r"^test, 3 crystals: MAE ([\d.e+]+) GPa$", done.stdout, re.MULTILINE)
    assert len(errors) == 2 and all(0 < float(error) < 500 for error in errors)
    models = ("tuned/models", "bulk_modulus", "formation_energy")
    assert all(re.search(rf"^{name}\b", done.stdout, re.MULTILINE) for name in models)
    assert (tmp_path / "first" / "report.html").is_file()


def test_what_it_gave_is_stored_and_without_errors():
    kinds = [output["output_type"] for cell in CODE for output in cell["outputs"]]
    assert "error" not in kinds and {"stream", "display_data"} <= set(kinds)
    without = [cell["id"] for cell in CODE if not cell["outputs"] and not is_parameters(cell)]
    assert without == []


@pytest.mark.parametrize(
    "cell", [c for c in CELLS if c["cell_type"] == "markdown"], ids=lambda c: c["id"]
)
def test_its_links_lead_somewhere(cell):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", "".join(cell["source"]))
    assert all((NOTEBOOK.parent / link).exists() for link in links if "://" not in link)
