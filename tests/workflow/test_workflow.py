"""The Snakemake workflow: its shape, what reruns when, and one small run from end to end."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.finished_run import can_be_a_guest
from helpers.paths import ROOT
from helpers.same_bytes import assert_same_bytes
from helpers.workflow import command_line, snakemake

STAGES = (
    "download crystals clean inspect split leakage graphs tune train_seed evaluate report".split()
)


def planned(folder: Path, *arguments: str, config: dict | None = None, **how) -> dict[str, int]:
    """Jobs of a dry run: rule name to count, targets without a command left out."""
    output = snakemake(folder, *arguments, "--dry-run", "--quiet", "rules", config=config, **how)
    text = output.stdout + output.stderr
    jobs = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isdigit() and words[0] not in ("all", "total"):
            jobs[words[0]] = int(words[1])
    return jobs


EDGES = """
configuration > all
download > crystals, report
crystals > clean, inspect, split, graphs, report
clean > inspect, leakage, report
inspect > report
split > leakage, tune, train_seed, evaluate, report
leakage > report
graphs > tune, train_seed, evaluate, report
tune > train_seed, report
train_seed > evaluate, report
evaluate > report
report > all
"""


def test_the_default_dag_is_this(tmp_path):
    dot = snakemake(tmp_path, "--rulegraph").stdout
    names = dict(re.findall(r'(\d+)\[label = "(\w+)', dot))
    found = {(names[a], names[b]) for a, b in re.findall(r"(\d+) -> (\d+)", dot)}
    pinned = [line.split(" > ") for line in EDGES.strip().splitlines()]
    assert found == {(rule, after) for rule, rest in pinned for after in rest.split(", ")}


def test_it_ran_as_a_guest_and_without_a_network(finished):
    if not can_be_a_guest:
        pytest.skip("only root can become another user, with setpriv of util-linux")
    assert {path.owner() for path in (finished / "results").rglob("*")} == {"nobody"}
    how = {"env": {**os.environ, "PYTHONPATH": str(finished.parent / "blocker")}}
    code = "import socket; socket.create_connection(('127.0.0.1', 9))"
    blocked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **how)
    assert "no network in this test" in blocked.stderr


def directives(text: str) -> dict[str, list[str]]:
    """The directives of each rule in a file of the workflow."""
    parts = re.split(r"^(?:rule|checkpoint) (\w+):\n", text, flags=re.MULTILINE)[1:]
    found = zip(parts[::2], parts[1::2], strict=True)
    return {rule: re.findall(r"^    (\w+):", body, re.MULTILINE) for rule, body in found}


def test_every_rule_says_what_it_needs_and_where_it_logs():
    text = "\n".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    rules = {name: found for name, found in directives(text).items() if "shell" in found}
    assert set(rules) >= {*STAGES, "configuration"}
    for name, found in rules.items():
        missing = {"log", "benchmark", "threads", "resources", "conda", "params"} - set(found)
        assert missing == ({"params"} if name == "configuration" else set()), name
    for needs in re.findall(r"^    resources:\n((?:        .*\n)+)", text, re.MULTILINE):
        assert re.findall(r"(\w+)=", needs) == ["mem_mb", "runtime"], "GPUs are the profiles'"
    assert "retries" in rules["download"]
    for name, original in re.findall(r"^use rule (\w+) as (\w+) with:", text, re.MULTILINE):
        assert name in rules and original not in rules


def test_everything_is_there_and_documented_files_are_readable(finished):
    results = finished / "results"
    expected = """
        config.json download.json crystals.parquet rejected.parquet split.parquet
        checks.parquet inspection.json inspection.html leakage.json
        graphs/manifest.json graphs/shard-00000.parquet graphs/shard-00002.parquet
        tune/best.json tune/trials.json tune/study.sqlite3
        models/seed-0/model.json models/seed-0/model.safetensors models/seed-0/metrics.jsonl
        models/seed-1/model.json evaluation/predictions.parquet evaluation/metrics.json
        evaluation/parity.svg evaluation/learning_curve.svg report.html
    """.split()
    missing = [name for name in expected if not (results / name).is_file()]
    assert not missing
    metrics = json.loads((results / "evaluation" / "metrics.json").read_text())
    target = metrics["targets"]["formation_energy_peratom"]
    counts = {name: part["crystals"] for name, part in target["splits"].items()}
    assert counts == {"train": 398, "val": 50, "test": 54}
    assert target["median_baseline"]["test_mae"] == pytest.approx(1.0643, abs=1e-4)
    for stage in STAGES:
        logs = list((results / "logs").glob(f"{stage.replace('_', '-')}*.txt"))
        assert logs and all(" done in " in path.read_text() for path in logs), stage


def test_a_second_run_has_nothing_to_do(finished):
    output = snakemake(finished)
    assert "Nothing to be done" in output.stdout + output.stderr


CHANGES = [
    ({"split": {"method": "random"}}, "split leakage tune train_seed evaluate report"),
    ({"cleaning": {"duplicates": "ignore"}}, "clean inspect leakage report"),
    (
        {"cleaning": {"duplicates": "drop"}},
        "clean inspect split leakage tune train_seed evaluate report",
    ),
    ({"graphs": {"cutoff_angstrom": 4.5}}, "graphs tune train_seed evaluate report"),
    ({"crystalframer": {"heads": 4}}, "tune train_seed evaluate report"),
    ({"encoder": "tfn", "tfn": {"cutoff_angstrom": 4}}, "tune train_seed evaluate report"),
    ({"tfn": {"channels": 8}}, ""),  # not the chosen encoder
    ({"training": {"epochs": 3}}, "tune train_seed evaluate report"),
    ({"training": {"checkpoint_minutes": 1, "tensorboard": True}}, ""),
    ({"tune": {"seed": 5}}, "tune train_seed evaluate report"),
    ({"tune": {"workers": 3, "storage": "journal", "max_retries": 0}}, "tune_worker"),
    ({"seeds": [0]}, "evaluate report"),
    ({"seeds": [0, 1, 2]}, "train_seed evaluate report"),
    ({"dataset": {"targets": ["optb88vdw_bandgap"]}}, " ".join(STAGES)),
]


@pytest.mark.parametrize(("change", "rules"), CHANGES, ids=lambda value: str(value)[:40])
def test_what_a_changed_key_reruns(finished, change, rules):
    """And the configuration is written anew, whatever key has changed."""
    assert sorted(planned(finished, config=change)) == sorted(["configuration", *rules.split()])


def test_a_key_without_effect_changes_the_configuration_alone(finished, tmp_path):
    """Really run: no job takes the new file for a reason to run again."""
    for name in ("results", ".snakemake"):
        shutil.copytree(finished / name, tmp_path / name)
    config = tmp_path / "results" / "config.json"
    for channels in (8, 16):
        change = {"tfn": {"channels": channels}}
        assert planned(tmp_path, config=change) == {"configuration": 1}
        snakemake(tmp_path, config=change)
        assert json.loads(config.read_text())["tfn"]["channels"] == channels
        assert planned(tmp_path, config=change) == {}


def test_a_configuration_of_unknown_origin_is_not_used(tmp_path):
    """As in a folder of results without Snakemake's notes, or of an older version."""
    (tmp_path / "results").mkdir()
    config = tmp_path / "results" / "config.json"
    config.write_text('{"dataset": {"source": "no such source"}}')
    snakemake(tmp_path, "results/download.json", "results/config.json")
    assert json.loads(config.read_text())["seeds"] == [0, 1]


def test_a_dry_run_with_other_settings_changes_nothing(finished):
    config = finished / "results" / "config.json"
    before = config.read_bytes()
    assert "split" in planned(finished, config={"split": {"method": "random"}})
    assert config.read_bytes() == before
    assert planned(finished) == {}


@pytest.mark.parametrize(
    ("stage", "rules"),
    [
        ("graphs", "graphs tune train_seed evaluate report"),
        ("tune", "tune train_seed evaluate report"),
        ("evaluate", "evaluate report"),
        ("report", "report"),
    ],
)
def test_new_code_reruns_its_stage_through_the_format_version(finished, stage, rules):
    settings = command_line(finished, "--dry-run", "--quiet", "rules")
    raised = f"""
import sys
from dglframer.config.stages import STAGES
STAGES[{stage!r}] = (99, STAGES[{stage!r}][1])
from snakemake.cli import main
sys.argv[0] = "snakemake"
main()
"""
    arguments = settings["args"]
    args = [arguments[0], "-c", raised, *arguments[arguments.index("snakemake") + 1 :]]
    assert sorted(planned(finished, args=args)) == sorted(rules.split())


def test_targets_of_single_stages(tmp_path, finished):
    assert "evaluate" not in planned(tmp_path, "train")
    assert sorted(planned(finished, "--forcerun", "evaluate")) == ["evaluate", "report"]
    assert sorted(planned(finished, "--forcerun", "configuration")) == ["configuration"]


def test_graphs_in_parts_by_several_jobs(finished, tmp_path):
    """As for large data sets: each job builds its shards, the last one finds them and lists them."""
    shutil.copytree(finished / "results", tmp_path / "results")
    shutil.rmtree(tmp_path / "results" / "graphs")
    snakemake(tmp_path, *(f"results/graphs/built/{part}-of-2" for part in (1, 2)))
    shards = sorted((tmp_path / "results" / "graphs").glob("shard-*.parquet"))
    made = [path.stat().st_mtime_ns for path in shards]
    snakemake(tmp_path, "results/graphs/manifest.json")
    assert [path.stat().st_mtime_ns for path in shards] == made
    for path in (*shards, tmp_path / "results" / "graphs" / "manifest.json"):
        assert_same_bytes(path, finished / path.relative_to(tmp_path))


def test_a_mistyped_key_is_named_before_anything_runs(tmp_path):
    output = snakemake(tmp_path, "--dry-run", config={"trainign": {"epochs": 3}}, check=False)
    assert output.returncode != 0
    assert "did you mean training?" in output.stdout + output.stderr


def test_snakemake_report(finished):
    snakemake(finished, "--report", "report.zip")
    assert (finished / "report.zip").stat().st_size > 10_000


def test_formatted():
    command = ["snakefmt", "--check", "Snakefile", "workflow/"]
    path = Path(sys.executable).parent / command[0]
    done = subprocess.run([str(path), *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_lint():
    command = [sys.executable, "-m", "snakemake", "--lint", "--snakefile", str(ROOT / "Snakefile")]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
