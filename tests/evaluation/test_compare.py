"""`snakemake compare`: equal epochs, equal time, one table."""

import json

import pytest
from helpers.workflow import snakemake

from dglframer.common.errors import ConfigError, DamagedFile, UserError
from dglframer.common.files import read_json, write_json
from dglframer.config import Config, override, parse_config
from dglframer.evaluation.comparison import (
    markdown,
    seconds_per_epoch,
    write_comparison,
    write_plans,
)

CONFIG = parse_config(
    {
        "training": {"epochs": 10, "averaged_epochs": 4},
        "compare": {
            "variants": {
                "slow": {},
                "fast": {"crystalframer.frame": "none"},
                "tfn": {"encoder": "tfn"},
            }
        },
    }
)


def write_metrics(folder, seconds):
    folder.mkdir(parents=True)
    lines = [{"epoch": n + 1, "cpu_seconds": one} for n, one in enumerate(seconds)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def trained(tmp_path):
    """Models of equal epochs: the second trains four times as fast, the third half as fast."""
    for name, seconds in {"slow": 8.0, "fast": 2.0, "tfn": 16.0}.items():
        for seed in (0, 1):
            write_metrics(tmp_path / name / f"seed-{seed}", [99.0, *[seconds] * 9])
    return tmp_path


def test_time_per_epoch_is_a_median(trained):
    assert seconds_per_epoch(sorted((trained / "fast").glob("seed-*"))) == 2.0


def test_equal_epochs_are_those_of_the_configuration(tmp_path):
    write_plans(CONFIG, "epochs", tmp_path, tmp_path)
    plans = {path.stem: read_json(path)["params"] for path in tmp_path.glob("*.json")}
    for name, settings in CONFIG.compare.variants.items():
        assert plans[name] == {**settings, "tune.search": {}}
    assert override(CONFIG, plans["tfn"]).encoder == "tfn"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crystalframer.blockz": 8}, r"compare.variants.odd: unknown key model.blockz"),
        ({"encoder": "tfn", "tfn.cutoff_angstrom": 9}, r"compare.variants.odd: .*exceed"),
        ({"encoder": "cgcnn"}, r"compare.variants.odd: encoder"),
    ],
)
def test_a_variant_that_is_not_possible_is_refused_before_any_training(settings, message, tmp_path):
    config = parse_config({"compare": {"variants": {"first": {}, "odd": settings}}})
    with pytest.raises(ConfigError, match=message):
        write_plans(config, "epochs", tmp_path, tmp_path / "epochs")
    assert not (tmp_path / "epochs").exists()


def test_a_search_over_one_encoder_does_not_hinder_the_others(tmp_path):
    config = parse_config({"tune": {"search": {"crystalframer.heads": {"choices": [4, 8]}}}})
    write_plans(config, "epochs", tmp_path, tmp_path)
    plan = read_json(tmp_path / "tfn.json")["params"]
    assert override(config, plan).encoder == "tfn"


def test_equal_time_gives_the_fast_one_more_epochs(trained, tmp_path):
    write_plans(CONFIG, "time", trained, tmp_path / "time")
    plans = {path.stem: read_json(path)["params"] for path in (tmp_path / "time").glob("*.json")}
    assert set(plans) == {"fast", "tfn"}  # the first one's training is that of equal epochs
    assert plans["fast"]["training.epochs"] == 40
    assert plans["fast"]["training.averaged_epochs"] == 16
    assert plans["tfn"]["training.epochs"] == 5
    assert override(CONFIG, plans["tfn"]).training.averaged_epochs == 2


def test_without_metrics_there_is_no_plan_of_equal_time(tmp_path):
    (tmp_path / "slow" / "seed-0").mkdir(parents=True)
    with pytest.raises(DamagedFile, match=r"metrics.jsonl"):
        write_plans(CONFIG, "time", tmp_path, tmp_path)


@pytest.fixture
def evaluated(trained, tmp_path):
    write_plans(CONFIG, "epochs", trained, tmp_path / "epochs")
    write_plans(CONFIG, "time", trained, tmp_path / "time")
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
    assert {**first, "budget": ""} == {**again, "budget": ""}  # its time is the measure
    assert "| equal epochs | fast | 2,000 | 3 | 2.0 | 1.2000 ± 0.1414 |" in markdown(table)
    assert "<svg" in (evaluated / "comparison.svg").read_text()


def test_a_missing_evaluation_is_named(evaluated):
    path = evaluated / "time" / "tfn" / "evaluation" / "metrics.json"
    write_json(path, {"parameters": 1})
    with pytest.raises(UserError, match=r"tfn/evaluation/metrics.json"):
        write_comparison(CONFIG, evaluated)


def test_the_jobs_of_the_target(tmp_path):
    """No job of it belongs to the default target, and it trains each variant and seed."""
    output = snakemake(tmp_path, "--dry-run", "--quiet", "rules")
    assert "compare" not in output.stdout + output.stderr
    output = snakemake(tmp_path, "compare", "--dry-run", "--quiet", "rules", "--rulegraph")
    assert "compare_train" in output.stdout


def test_defaults_are_the_comparison_of_the_documentation():
    assert Config().compare.variants == {}  # Snakemake would merge a user's with these
    variants = Config().compare.chosen
    encoders = [override(Config(), settings).encoder for settings in variants.values()]
    assert encoders == ["crystalframer", "crystalframer", "se3_transformer", "tfn"]
