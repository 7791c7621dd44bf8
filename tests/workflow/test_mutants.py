"""The page of mutants is that of the stored run, and no survivor stands there without a reason."""

import json
import runpy

from helpers.paths import ROOT


def test_the_page_is_that_of_the_stored_run_and_every_survivor_has_a_reason():
    script = runpy.run_path(str(ROOT / "tools" / "mutants.py"))
    result = json.loads(script["RESULTS"].read_text())
    reasons = json.loads(script["REASONS"].read_text())
    page = script["PAGE"].read_text()
    assert page == script["page"](result, reasons), "run: python tools/mutants.py --page"
    assert "no reason yet" not in page
    assert {row["module"] for row in result["mutants"]} == set(result["made"])
