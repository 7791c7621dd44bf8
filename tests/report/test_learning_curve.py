"""The table and plot of the error against the number of training crystals."""

import pytest

from dglframer.common.errors import UserError
from dglframer.common.files import read_json, write_json
from dglframer.config import parse_config
from dglframer.report.learning_curve import markdown, write_learning_curve

CONFIG = parse_config({"learning_curve": {"sizes": [400, 100]}, "seeds": [0, 1]})


def evaluation(mae: float) -> dict:
    target = {"unit": "eV", "splits": {"test": {"mae": mae}}, "test_crystals": 9}
    target["test_mae_by_seed"] = {"0": 1.1 * mae, "1": 1.2 * mae}
    for factor, name in ((2, "boosting"), (3, "composition"), (4, "median")):
        target[f"{name}_baseline"] = {"test_mae": factor * mae}
    return {"targets": {"gap": target}}


def test_rows_are_in_order_of_size_with_network_and_baselines(tmp_path):
    for size in CONFIG.learning_curve.sizes:
        write_json(tmp_path / str(size) / "evaluation" / "metrics.json", evaluation(10 / size))
    table = write_learning_curve(CONFIG, tmp_path)
    assert read_json(tmp_path / "table.json") == table
    assert [row["training_crystals"] for row in table["rows"]] == [100, 400]
    assert table["rows"][1]["targets"]["gap"]["boosting_baseline"] == 0.05
    text = (tmp_path / "table.md").read_text()
    assert text == markdown(table)
    assert "| 400 | 0.0250 | 0.0275, 0.0300 | 0.0500 | 0.0750 | 0.1000 |" in text
    svg = (tmp_path / "learning_curve.svg").read_text()
    for word in ("training crystals", "gradient boosting", "crystalframer", "test MAE (eV)"):
        assert word in svg, word


def test_an_older_evaluation_is_named(tmp_path):
    for size in CONFIG.learning_curve.sizes:
        metrics = evaluation(1.0)
        del metrics["targets"]["gap"]["boosting_baseline"]
        write_json(tmp_path / str(size) / "evaluation" / "metrics.json", metrics)
    with pytest.raises(UserError, match=r"100/evaluation/metrics\.json: no 'boosting_baseline'"):
        write_learning_curve(CONFIG, tmp_path)
