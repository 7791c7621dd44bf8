"""The report: complete, honest, self-contained, the same for equal inputs, safe for any id."""

import dataclasses
import re
import shlex
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import optuna
import pyarrow as pa
import pytest
import spglib
import torch

from dglframer.cli import main as cli
from dglframer.common.errors import DamagedFile
from dglframer.common.files import hash_of, read_json, write_json
from dglframer.common.parquet import read_parquet, write_parquet
from dglframer.config import Config, override
from dglframer.config.data import GraphsConfig
from dglframer.data.cleaning import check_crystals
from dglframer.data.crystals import crystals_table, validated
from dglframer.data.leakage import leakage
from dglframer.data.rejections import Rejections
from dglframer.data.split import split_crystals, write_split
from dglframer.evaluation.evaluate import evaluate
from dglframer.graphs.shards import write_graphs
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.networks.model_directory import Target, TrainedModel, save_model
from dglframer.report import report
from dglframer.report.inspection import inspect
from dglframer.report.pages import number
from dglframer.report.report import Inputs, ReportData, formula, write_report
from dglframer.structures.crystal import Record
from dglframer.training.metrics import MetricsLog
from dglframer.tuning.tune import write_results

SCRIPT = "<script>alert(1)</script>"
TINY = {"frame": "none", "blocks": 1, "width": 8, "heads": 2, "feedforward": 8, "distance_bins": 4}
SECTIONS = "data rejected splits graphs tuning model training results reproduce".split()
UNITS = {"energy": "eV/atom", "gap": "eV"}


def records(targets: list[str]) -> list[Record]:
    """Rock salt, cells of one and of three elements, and one record of every bad kind."""
    rng = np.random.default_rng(0)
    result = []
    for k in range(24):
        species = (["Na", "Cl"], ["Cu"], ["Ca", "Ti", "O"])[k % 3]
        cell = np.diag([3.0, 3.0, 3.0 + k % 2])
        coords = np.linspace(0, 0.5, len(species), endpoint=False)[:, None] * np.ones(3)
        labels = {name: float(rng.normal()) for name in targets}
        split = "test" if k < 12 else "val" if k < 15 else "train"
        result.append(Record(f"c{k:02d}", species, cell, coords, labels, split))
    one = result[0]
    spoiled = [
        dataclasses.replace(one, id=SCRIPT, labels={name: 50.0 for name in targets}),
        dataclasses.replace(one, id="in-two-parts", split="val+test"),
        dataclasses.replace(one, id="not-an-element", species=["Na", "<b>Xx"]),
        dataclasses.replace(one, id="no-label", labels={}),
        dataclasses.replace(one, id=f"rejected-{SCRIPT}", species=[]),
    ]
    return result + spoiled


def write_stages(folder: Path, targets: list[str], seeds: tuple[int, ...], tuned: bool) -> Inputs:
    """The files of the stages before the report, written by these stages."""
    folder.mkdir()
    tuning = {"tune.trials": 3 if tuned else 0, "training.epochs": 3, "training.averaged_epochs": 1}
    plain = {f"crystalframer.{key}": value for key, value in TINY.items()} | tuning
    config = override(Config(), {**plain, "dataset.targets": targets})
    files = Inputs(
        config=folder / "config.json",
        download=folder / "download.json",
        crystals=folder / "crystals.parquet",
        rejected=folder / "rejected.parquet",
        checks=folder / "checks.parquet",
        inspection=folder / "inspection.json",
        split=folder / "split.parquet",
        leakage=folder / "leakage.json",
        graphs=folder / "graphs",
        models=[folder / "models" / f"seed-{seed}" for seed in seeds],
        evaluation=folder / "evaluation",
        tuned=folder / "tune" / "best.json" if tuned else None,
    )
    write_json(files.config, config.model_dump(mode="json"))
    source = {"source": "made up", "licence": "CC0", "citation": "A & B", "notes": ["A note."]}
    listed = [{"path": "some/where/data.csv", "bytes": 12, "sha256": "0" * 64}]
    write_json(files.download, {**source, "files": listed})
    rejections = Rejections()
    valid = validated(records(targets), targets, rejections)
    write_parquet(files.crystals, crystals_table(valid, "made up", targets, UNITS))
    write_parquet(files.rejected, rejections.table())
    checks = check_crystals(files.crystals, config.cleaning)
    write_parquet(files.checks, checks)
    write_json(files.inspection, inspect(files.crystals, rejections.table(), checks))
    splits = split_crystals(read_parquet(files.crystals), config.split)
    write_split(splits, files.split, "canonical")
    write_json(files.leakage, leakage(checks, read_parquet(files.split)))
    write_graphs(
        files.crystals, files.graphs, GraphsConfig(cutoff_angstrom=4.0, crystals_per_shard=100)
    )
    best = write_study(files.tuned.parent) if files.tuned else {"params": {}}
    for seed, model in zip(seeds, files.models, strict=True):
        write_model(override(config, best["params"]), files.graphs, seed, model, targets)
    evaluate(files.graphs, files.split, files.models, files.evaluation, torch.device("cpu"))
    return files


def write_study(folder: Path) -> dict:
    """best.json and trials.json of a study of two finished trials and a pruned one."""
    study = optuna.create_study(study_name="tune-made-up")
    space = {"training.learning_rate": optuna.distributions.FloatDistribution(1e-5, 1.0)}
    for rate, loss, state in (
        (3e-4, 0.5, "COMPLETE"),
        (0.0625, 0.25, "COMPLETE"),
        (0.5, 1, "PRUNED"),
    ):
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState[state],
            params={"training.learning_rate": rate},
            distributions=space,
            value=loss,
            intermediate_values={1: loss},
        )
        study.add_trial(trial)
    return write_results(study, folder, Config())


def write_model(config: Config, graphs: Path, seed: int, folder: Path, targets: list[str]) -> None:
    """A model directory with initial weights and three epochs of metrics."""
    lines = [
        {
            "epoch": epoch,
            "step": epoch,
            "averaged": epoch == 3,
            "train_loss": 1 / epoch,
            "val_mae": {name: 1 / (epoch + seed) for name in targets},
            "train_seconds": 30.0,
            "val_seconds": 6.0,
        }
        for epoch in (1, 2, 3)
    ]
    MetricsLog(folder / "metrics.jsonl", lines)
    history = {
        "seed": seed,
        "training": config.training.model_dump(mode="json"),
        "data_manifest_hash": hash_of(read_json(graphs / "manifest.json")),
    }
    network = CrystalFramer(config.crystalframer, len(targets)).draw(seed)
    statistics = tuple(Target(name, UNITS[name], 0.0, 1.0) for name in targets)
    save_model(TrainedModel(network, 4.0, statistics, history), folder)


@pytest.fixture(scope="module")
def two_targets(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A tuned run with two targets and two seeds."""
    return write_stages(tmp_path_factory.mktemp("two") / "run", ["energy", "gap"], (0, 1), True)


@pytest.fixture(scope="module")
def one_target(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A run of one seed without tuning."""
    return write_stages(tmp_path_factory.mktemp("one") / "run", ["energy"], (7,), False)


@pytest.fixture(scope="module")
def page(two_targets: Inputs) -> str:
    out = two_targets.config.parent / "report.html"
    write_report(two_targets, out)
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def plain_page(one_target: Inputs) -> str:
    out = one_target.config.parent / "report.html"
    write_report(one_target, out)
    return out.read_text(encoding="utf-8")


def section(page: str, key: str) -> str:
    """The HTML of one section."""
    found = re.search(rf'<section id="{key}">(.*?)\n</section>\n', page, re.DOTALL)
    assert found, f"no section {key}"
    return found[1]


def test_makes_no_request(page: str) -> None:
    for attribute in re.findall(r"""(?:src|href|srcset|action)\s*=\s*["']?([^"'\s>]*)""", page):
        assert attribute.startswith(("#", "data:")), attribute
    assert not re.search(r"@import|<script|<link|<iframe|<object", page)
    assert all(url.startswith("#") for url in re.findall(r"url\(\s*['\"]?([^)]*)", page))


@pytest.mark.parametrize("key", SECTIONS)
def test_every_section_is_there_and_linked(page: str, key: str) -> None:
    assert re.search(r"<h2>[A-Z]", section(page, key))
    assert f'<a href="#{key}">' in page


def test_ids_in_the_page_are_unique_and_found(page: str) -> None:
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert {ref for ref in re.findall(r'(?:href="|url\()#([^")]*)', page)} <= set(ids)


def test_figures_have_labels_and_tables_captions(page: str) -> None:
    assert page.count("<svg") == page.count('<svg role="img" aria-label="') >= 12
    assert len(re.findall(r"<table>\s*<caption>\w", page)) == page.count("<table>") >= 12


def test_a_malicious_id_is_only_text(page: str) -> None:
    escaped = "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert SCRIPT not in page and "<b>Xx" not in page
    assert escaped in section(page, "results"), "the worst test prediction"
    assert f"rejected-{escaped}" in section(page, "rejected")


def test_everything_rejected_or_left_out_is_listed(two_targets: Inputs, page: str) -> None:
    shown = unescape(section(page, "rejected"))
    rows = read_parquet(two_targets.rejected).to_pylist()
    assert len(rows) == 3
    for row in rows:
        assert row["id"] in shown and row["reason"] in shown
    rejected, left_out = shown.split("left out of the split")
    assert "in-two-parts" in left_out and "in-two-parts" not in rejected


def test_of_many_rejected_records_the_page_lists_some(
    one_target: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "LISTED", 1)
    row = {"id": ["no-label", "also-without"], "reason": ["no label energy"] * 2}
    write_parquet(tmp_path / "rejected.parquet", pa.table(row))
    changed = dataclasses.replace(one_target, rejected=tmp_path / "rejected.parquet")
    write_report(changed, tmp_path / "report.html")
    shown = section((tmp_path / "report.html").read_text(encoding="utf-8"), "rejected")
    assert "no-label, …" in shown and "also-without" not in shown
    assert "All of them are in rejected.parquet" in shown


def test_the_headline_is_the_number_in_metrics(two_targets: Inputs, page: str) -> None:
    metrics = read_json(two_targets.evaluation / "metrics.json")["targets"]
    values = re.findall(r'<p class="value">([\d.]+) <small>(.*?)</small>', page)
    assert values == [
        (number(one["splits"]["test"]["mae"]), one["unit"]) for one in metrics.values()
    ]
    assert len(values) == 2
    for one in metrics.values():
        boosting = number(one["boosting_baseline"]["test_mae"])
        assert "<dt>gradient boosting</dt>" in page and f">{boosting}</dd>" in page
    ratios = re.findall(r"<strong>([\d.]+) %</strong>", page)
    assert ratios == [f"{100 * one['test_mae_over_median']:.1f}" for one in metrics.values()]


def test_returns_the_test_errors_and_writes_equal_bytes_again(
    one_target: Inputs, plain_page: str, tmp_path: Path
) -> None:
    one = read_json(one_target.evaluation / "metrics.json")["targets"]["energy"]
    mae, median = one["splits"]["test"]["mae"], one["median_baseline"]["test_mae"]
    line = write_report(one_target, tmp_path / "report.html")
    boosting = one["boosting_baseline"]["test_mae"]
    assert line.startswith(
        f"energy: test MAE {mae:.4f} eV/atom, gradient boosting {boosting:.4f}, "
        f"training median {median:.4f}"
    )
    verdict = "network does not beat gradient boosting"
    assert mae > boosting and verdict in line and verdict in plain_page
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == plain_page


def test_errors_of_each_seed_are_those_of_the_evaluation(two_targets: Inputs, page: str) -> None:
    metrics = read_json(two_targets.evaluation / "metrics.json")["targets"]
    cells = r'<tr><th scope="row">seed (\d)</th>(?:<td class="n">\S+</td>){2}<td class="n">(\S+)</td></tr>'
    assert re.findall(cells, section(page, "results")) == [
        (seed, number(mae))
        for one in metrics.values()
        for seed, mae in one["test_mae_by_seed"].items()
    ]


def test_crystal_systems_are_those_of_the_checks(
    one_target: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """spglib runs once for each crystal, in the clean stage."""
    monkeypatch.setattr(spglib, "get_symmetry_dataset", lambda *args, **kwargs: 1 / 0)
    checks = read_parquet(one_target.checks)
    place = checks.schema.get_field_index("space_group")
    groups = pa.array([230] * len(checks), pa.int16())
    changed = checks.set_column(place, checks.schema.field(place), groups)
    write_parquet(tmp_path / "checks.parquet", changed)
    inputs = dataclasses.replace(one_target, checks=tmp_path / "checks.parquet")
    run = ReportData(inputs)
    assert set(run.systems.values()) == {"cubic"}
    assert set(run.systems) == {id for id, part in run.split.items() if part == "test"}


def test_worst_predictions_come_first(page: str) -> None:
    table = section(page, "results").split("10 worst test predictions")[1].split("</table>")[0]
    ids = re.findall(r'<th scope="row">(.*?)</th>', table)
    assert len(ids) == 10 and unescape(ids[0]) == SCRIPT


def test_tuning_shows_every_trial_and_the_best(page: str) -> None:
    tuning = section(page, "tuning")
    assert "trial 1 had the lowest validation loss" in tuning
    assert 'aria-label="Validation loss of each trial"' in tuning
    assert "0.0625" in tuning and "pruned" in tuning
    assert tuning.count("(best)") == 1 and len(re.findall("<tr", tuning)) == 4
    assert "0.0625 (tuned)" in section(page, "model")


def test_without_tuning_the_page_says_so(plain_page: str) -> None:
    html = plain_page
    assert "Tuning was off" in section(html, "tuning")
    assert "(tuned)" not in html and "--tuned" not in html and "dglframer tune" not in html
    assert "ensemble" not in html, "one model is no ensemble"
    assert "do not fit together" not in html


def test_a_model_with_other_settings_is_pointed_out(one_target: Inputs, tmp_path: Path) -> None:
    config = read_json(one_target.config)
    config["training"]["epochs"] = 9
    write_json(tmp_path / "config.json", config)
    write_report(
        dataclasses.replace(one_target, config=tmp_path / "config.json"), tmp_path / "r.html"
    )
    assert (
        "training.epochs: 9 was asked for, the models have 3" in (tmp_path / "r.html").read_text()
    )


def test_a_setting_that_a_model_does_not_record_is_pointed_out(
    one_target: Inputs, tmp_path: Path
) -> None:
    folder = tmp_path / one_target.models[0].name
    shutil.copytree(one_target.models[0], folder)
    description = read_json(folder / "model.json")
    del description["history"]["training"]["max_atoms"]
    write_json(folder / "model.json", description)
    write_report(dataclasses.replace(one_target, models=[folder]), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "training.max_atoms: None was asked for, the models have no record" in page


def test_an_evaluation_of_another_split_is_refused(one_target: Inputs, tmp_path: Path) -> None:
    split = {row["id"]: row["split"] for row in read_parquet(one_target.split).to_pylist()}
    split["c00"], split["c23"] = split["c23"], split["c00"]
    write_split(split, tmp_path / "split.parquet")
    with pytest.raises(DamagedFile, match="run evaluate again"):
        write_report(
            dataclasses.replace(one_target, split=tmp_path / "split.parquet"), tmp_path / "r"
        )


def test_the_commands_are_those_of_the_command_line(two_targets: Inputs, page: str) -> None:
    code = "\n".join(re.findall(r"<pre><code>(.*?)</code></pre>", page, re.DOTALL))
    lines = [line for line in unescape(code).splitlines() if line.startswith("dglframer ")]
    verbs = [cli.parser().parse_args(shlex.split(line)[1:]).run.__name__ for line in lines]
    stages = "download crystals clean inspect split leakage graphs tune train train evaluate report".split()
    assert verbs == stages
    assert "snakemake --cores all" in code


def test_hashes_and_configuration_are_shown(two_targets: Inputs, page: str) -> None:
    text = unescape(section(page, "reproduce"))
    assert hash_of(read_json(two_targets.config)) in text
    assert hash_of(read_json(two_targets.graphs / "manifest.json")) in text
    assert "averaged_epochs: 1" in text


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [([11, 17], "NaCl"), ([8] * 6 + [13] * 4, "Al₂O₃"), ([8, 1, 1], "H₂O"), ([6] * 12, "C")],
)
def test_formulas_are_reduced_and_ordered(numbers: list[int], expected: str) -> None:
    assert formula(np.array(numbers)) == expected


def test_numbers_keep_small_values_and_show_nothing_as_a_dash() -> None:
    values = [0.22609, 12345.678, 3.4e-5, -1.5, float("nan"), None, 8, 0.0]
    shown = ["0.2261", "12345.7", "3.4e-05", "−1.5000", "–", "–", "8", "0.0000"]
    assert list(map(number, values)) == shown
