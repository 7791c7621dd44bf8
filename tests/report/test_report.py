"""The report: complete, honest, self-contained, the same for equal inputs, safe for any id."""

import dataclasses
import json
import re
import shlex
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import spglib
from helpers.report_run import SCRIPT, write_stages

from dglframer.cli import main as cli
from dglframer.common.errors import DamagedFile
from dglframer.common.files import hash_of, read_json, write_json
from dglframer.common.machine import machine
from dglframer.common.parquet import read_parquet, write_parquet
from dglframer.data.split import write_split
from dglframer.report import points, report
from dglframer.report.digits import decimals_of, fixed
from dglframer.report.pages import number
from dglframer.report.report import Inputs, ReportData, write_report
from dglframer.report.results import formula, results

SECTIONS = (
    "results trust worst frames training tuning model data rejected splits graphs reproduce".split()
)
PAGE_BYTES = 3 * 10**6


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


def without_scripts(page: str) -> str:
    """The page without libraries, data and its own scripts."""
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_makes_no_request(page: str) -> None:
    assert "default-src 'none'; img-src data: blob:" in page, "and its policy forbids any"
    page = without_scripts(page)
    for attribute in re.findall(r"""(?:src|href|srcset|action)\s*=\s*["']?([^"'\s>]*)""", page):
        assert attribute.startswith(("#", "data:")), attribute
    assert not re.search(r"@import|<script|<link|<iframe|<object", page)
    assert all(url.startswith("#") for url in re.findall(r"url\(\s*['\"]?([^)]*)", page))


@pytest.mark.parametrize("key", SECTIONS)
def test_every_section_is_there_and_linked(page: str, key: str) -> None:
    assert re.search(r"<h2>[A-Z]", section(page, key))
    assert f'<a href="#{key}">' in page


def test_ids_in_the_page_are_unique_and_found(page: str) -> None:
    page = without_scripts(page)
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert {ref for ref in re.findall(r'(?:href="|url\()#([^")]*)', page)} <= set(ids)


def test_figures_have_labels_and_tables_captions(page: str) -> None:
    page = without_scripts(page)
    assert page.count("<svg") == page.count('<svg role="img" aria-label="') >= 12
    assert len(re.findall(r"<table>\s*<caption>\w", page)) == page.count("<table>") >= 12


def test_a_malicious_id_is_only_text(page: str) -> None:
    escaped = "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert SCRIPT not in page and "<b>Xx" not in page
    assert escaped in section(page, "worst"), "the worst test prediction"
    assert r"\u003cscript>alert(1)" in page, "in the data of the plots"
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
    row = {
        "id": ["no-label", "also-without", "x"],
        "reason": [*["no label energy"] * 2, "unheard of"],
    }
    write_parquet(tmp_path / "rejected.parquet", pa.table(row))
    files = [{"path": f"/{name}", "bytes": 1000, "sha256": name * 3} for name in "abc"]
    write_json(tmp_path / "download.json", read_json(one_target.download) | {"files": files})
    changed = dataclasses.replace(
        one_target,
        rejected=tmp_path / "rejected.parquet",
        download=tmp_path / "download.json",
    )
    write_report(changed, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    shown = section(page, "rejected")
    assert "no-label … (1 of 2 ids)" in shown and "also-without" not in shown
    assert "1 further reasons" in shown and "unheard of" not in shown
    assert "All of them are in rejected.parquet" in shown
    shown = section(page, "data")
    assert "2 further files" in shown and "aaa" in shown and "bbb" not in shown


def test_the_headline_is_the_number_in_metrics(two_targets: Inputs, page: str) -> None:
    """With its interval, and the baselines, in the digits that its error allows."""
    run = ReportData(two_targets)
    values = re.findall(r'<p class="value">([\d.]+) <small>(.*?)</small>', page)
    assert len(values) == 2
    for (shown, unit), one in zip(
        values, [results(run, name) for name in run.predictions], strict=True
    ):
        decimals = decimals_of(one["test_mae_error"])
        assert (shown, unit) == (fixed(one["splits"]["test"]["mae"], decimals), one["unit"])
        low, high = (fixed(end, decimals) for end in one["interval"])
        assert float(low) < float(shown) < float(high)
        assert f"95 % interval {low} to {high}, over" in page
        boosting = fixed(one["boosting_baseline"]["test_mae"], decimals)
        assert "<dt>gradient boosting</dt>" in page and f">{boosting}</dd>" in page


def test_results_come_before_everything_else(page: str) -> None:
    found = re.findall(r'<section id="(.*?)">', page)
    assert found == SECTIONS
    assert (
        page.index('class="headline"') < page.index('id="figure-parity1"') < page.index("<h2>Data")
    )


def test_long_lists_are_folded(page: str) -> None:
    for key, words in (
        ("model", "settings ("),
        ("data", "with their hashes"),
        ("reproduce", "Hashes"),
    ):
        assert re.search(rf"<summary>[^<]*{re.escape(words)}", section(page, key)), key


def test_machine_and_times_are_stated(one_target: Inputs, tmp_path: Path) -> None:
    row = "s\th:m:s\tmax_rss\n12.5\t0:00:12\t345.6\n"
    (tmp_path / "train-seed-7.tsv").write_text(row, encoding="utf-8")
    write_report(dataclasses.replace(one_target, benchmarks=tmp_path), tmp_path / "r.html")
    shown = section((tmp_path / "r.html").read_text(encoding="utf-8"), "reproduce")
    assert machine() in shown and "seed 7: 1.8 minutes" in shown
    assert '<th scope="row">train-seed-7</th><td class="n">12.5</td><td class="n">346</td>' in shown


def test_the_plots_have_the_numbers_of_the_predictions(two_targets: Inputs, page: str) -> None:
    data = json.loads(re.search(r'id="report-data">(.*?)</script>', page)[1])
    assert data["crystals"]["points"] == len(data["crystals"]["id"]) == 25
    rows = {
        (row["id"], row["property"]): row
        for row in read_parquet(two_targets.evaluation / "predictions.parquet").to_pylist()
    }
    for target in data["targets"]:
        for id, label, value in zip(
            data["crystals"]["id"], target["target"], target["prediction"], strict=True
        ):
            row = rows[(id, target["name"])]
            step = 0.51 * 10 ** -(target["decimals"] + 1)
            assert abs(row["target"] - label) <= step and abs(row["prediction"] - value) <= step
    assert set(data["tuning"]) >= {"history", "slice"}, "Optuna's own figures"


def test_elements_that_no_training_crystal_has_are_marked(two_targets: Inputs, page: str) -> None:
    trained = set(ReportData(two_targets).training_elements)
    marked = re.findall(r'<span class="([^"]*)" data-element="(\w+)"', section(page, "trust"))
    unseen = {symbol for classes, symbol in marked if "unseen" in classes}
    assert (
        {symbol for _, symbol in marked} - unseen == trained == {"Na", "Cl", "Cu", "Ca", "Ti", "O"}
    )


def test_of_many_crystals_some_are_shown_and_the_page_says_so(
    one_target: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(points.SHOWN, "test", 4)
    write_report(one_target, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "The plots show 4 of 13 test" in page or "4 of 13 test crystals" in page
    data = json.loads(re.search(r'id="report-data">(.*?)</script>', page)[1])
    shown = data["crystals"]["split"][: data["crystals"]["points"]]
    assert shown.count("test") == 4 and SCRIPT in data["crystals"]["id"], "the worst is among them"


def test_the_learning_curve_is_shown_if_it_is_there(
    one_target: Inputs, plain_page: str, tmp_path: Path
) -> None:
    errors = {"ensemble": 0.25, "by_seed": [0.25], "test_crystals": 13}
    errors |= {f"{key}_baseline": 0.5 for key in ("boosting", "composition", "median")}
    rows = [{"training_crystals": n, "targets": {"energy": errors}} for n in (50, 1000)]
    table = {"encoder": "crystalframer", "seeds": [7], "units": {"energy": "eV/atom"}, "rows": rows}
    write_json(tmp_path / "table.json", table)
    with_curve = dataclasses.replace(one_target, learning_curve=tmp_path / "table.json")
    write_report(with_curve, tmp_path / "r.html")
    shown = section((tmp_path / "r.html").read_text(encoding="utf-8"), "curve")
    assert '<svg role="img" aria-label="Test error of energy' in shown and "1 000" in shown
    assert 'id="curve"' not in plain_page and 'href="#curve"' not in plain_page


@pytest.mark.slow
def test_a_page_of_a_thousand_test_crystals_is_small(tmp_path: Path) -> None:
    inputs = write_stages(tmp_path / "run", ["energy"], (0, 1), True, frame="max", count=2000)
    write_report(inputs, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < PAGE_BYTES


def test_each_model_gets_a_card(two_targets: Inputs, tmp_path: Path) -> None:
    write_report(two_targets, tmp_path / "r.html", cards=tmp_path)
    metrics = read_json(two_targets.evaluation / "metrics.json")["targets"]["gap"]
    first, ensemble = (
        path.read_text() for path in (tmp_path / "seed-0" / "card.md", tmp_path / "card.md")
    )
    assert first.startswith("# energy, gap: seed 0\n") and "## Errors of gap" in first
    mae = metrics["test_mae_by_seed"]["0"]
    assert f"| test | 13 | {mae:.4g} |" in first
    assert f"| test | 13 | {metrics['splits']['test']['mae']:.4g} |" in ensemble
    for card in (first, ensemble):
        assert "Licence: CC0" in card and "Citation: A & B" in card and "## Not for" in card
        assert "Elements of the training crystals (6): O Na Cl Ca Ti Cu." in card


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
    cells = r'<tr><th scope="row">seed (\d)</th><td class="n">([\d.]+) ± ([\d.]+)</td></tr>'
    found = re.findall(cells, section(page, "results"))
    wanted = [pair for one in metrics.values() for pair in one["test_mae_by_seed"].items()]
    assert len(found) == len(wanted) == 4
    for (seed, mae, error), (name, value) in zip(found, wanted, strict=True):
        assert seed == name and fixed(value, decimals_of(float(error))) == mae


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
    table = section(page, "worst").split("10 worst of 13 test predictions")[1].split("</table>")[0]
    ids = re.findall(r'<th scope="row" class="id">(.*?)</th>', table)
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
    code = "\n".join(
        re.findall(r"<pre><code>(.*?)</code></pre>", section(page, "reproduce"), re.DOTALL)
    )
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
