"""The table of a comparison: every variant in both budgets."""

import pytest
from helpers.comparison import CONFIG, write_metrics

from dglframer.common.errors import UserError
from dglframer.common.files import read_json, write_json
from dglframer.report.comparison import markdown, write_comparison


@pytest.fixture
def evaluated(tmp_path):
    for budget in ("epochs", "time"):
        for k, name in enumerate(CONFIG.compare.trained_in(budget)):
            for seed in (0, 1):
                write_metrics(tmp_path / budget / name / f"seed-{seed}", [1.0 + k] * 3)
            target = {
                "unit": "eV/atom",
                "test_mae_by_seed": {"0": 0.1 + k, "1": 0.3 + k},
                "splits": {"test": {"mae": 0.15 + k}},
                "median_baseline": {"test_mae": 1.0},
                "composition_baseline": {"test_mae": 0.5},
                "boosting_baseline": {"test_mae": 0.25},
            }
            metrics = {"parameters": 1000 * (k + 1), "targets": {"energy": target}}
            write_json(tmp_path / budget / name / "evaluation" / "metrics.json", metrics)
    return tmp_path


def test_table_has_every_variant_in_both_budgets(evaluated):
    table = write_comparison(CONFIG, evaluated)
    assert read_json(evaluated / "table.json") == table
    names = [(row["budget"], row["variant"]) for row in table["rows"]]
    variants = ["slow", "fast", "tfn"]
    assert names == [(budget, name) for budget in ("epochs", "time") for name in variants]
    first, again = table["rows"][0], table["rows"][3]
    assert {**first, "budget": ""} == {
        **again,
        "budget": "",
    }  # the first variant is the same in both budgets
    assert "| equal epochs | fast | 2,000 | 3 | 2.0 | 1.2000 ± 0.1414 |" in markdown(table)
    assert "| | gradient boosting | | | | 0.2500 |" in markdown(table)
    assert "<svg" in (evaluated / "comparison.svg").read_text()


def test_a_missing_evaluation_is_named(evaluated):
    path = evaluated / "time" / "tfn" / "evaluation" / "metrics.json"
    write_json(path, {"parameters": 1})
    with pytest.raises(UserError, match=r"tfn/evaluation/metrics.json"):
        write_comparison(CONFIG, evaluated)
