"""The plans of `snakemake compare`: equal epochs, equal time."""

import subprocess
import sys

import pytest
from helpers.comparison import CONFIG, write_trained
from helpers.workflow import snakemake

from dglframer.common.errors import ConfigError, DamagedFile
from dglframer.common.files import read_json
from dglframer.config import Config, override, parse_config
from dglframer.evaluation.comparison_plan import seconds_per_epoch, write_plans

IMPORTED = """
import sys
import dglframer.evaluation.comparison_plan
sys.exit("matplotlib" in sys.modules)
"""


@pytest.fixture
def trained(tmp_path):
    write_trained(tmp_path)
    return tmp_path


def test_planning_loads_no_plots():
    assert subprocess.run([sys.executable, "-c", IMPORTED]).returncode == 0


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
        ({"crystalframer.blockz": 8}, r"compare.variants.odd: unknown key crystalframer.blockz"),
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
    assert set(plans) == {"fast", "tfn"}  # the first variant is trained once, for both budgets
    assert plans["fast"]["training.epochs"] == 40
    assert plans["fast"]["training.averaged_epochs"] == 16
    assert plans["tfn"]["training.epochs"] == 5
    assert override(CONFIG, plans["tfn"]).training.averaged_epochs == 2


def test_without_metrics_there_is_no_plan_of_equal_time(tmp_path):
    (tmp_path / "slow" / "seed-0").mkdir(parents=True)
    with pytest.raises(DamagedFile, match=r"metrics.jsonl"):
        write_plans(CONFIG, "time", tmp_path, tmp_path)


def test_the_jobs_of_the_target(tmp_path):
    """The default target has no job of it, and it trains each variant."""
    output = snakemake(tmp_path, "--dry-run", "--quiet", "rules")
    assert "compare" not in output.stdout + output.stderr
    output = snakemake(tmp_path, "compare", "--dry-run", "--quiet", "rules", "--rulegraph")
    assert "compare_train" in output.stdout


def test_defaults_are_the_comparison_of_the_documentation():
    assert Config().compare.variants == {}  # Snakemake would merge defaults with a user's variants
    variants = Config().compare.chosen
    encoders = [override(Config(), settings).encoder for settings in variants.values()]
    assert encoders == ["crystalframer", "crystalframer", "se3_transformer", "tfn"]
