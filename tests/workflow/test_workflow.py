"""The Snakemake workflow: its shape, what reruns when, and one small run from end to end."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from helpers.interrupted import without_times
from helpers.paths import ROOT
from helpers.same_bytes import assert_same_bytes
from helpers.workflow import command_line, snakemake

from dglframer.training.metrics import read_metrics

STAGES = (
    "download crystals clean inspect split leakage graphs tune train_seed evaluate report".split()
)
# Nobody but this process and its children can be reached.
NO_NETWORK = """
import socket
def connect(self, address):
    if self.family != socket.AF_UNIX:
        raise OSError(f"no network in this test: {address}")
    return plain(self, address)
plain, socket.socket.connect = socket.socket.connect, connect
"""


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


# As `nobody`, who may read every file (the interpreter or the checkout may lie in a folder of root's)
# and write none of ours. Without no_setuid_fixup, os.access would deny what open allows.
GUEST = """
setpriv --reuid=nobody --regid=nogroup --clear-groups --no-new-privs
--inh-caps=+dac_read_search --ambient-caps=+dac_read_search --securebits=+no_setuid_fixup
""".split()
can_be_a_guest = (
    os.getuid() == 0 and subprocess.call([*GUEST, "true"], stderr=subprocess.DEVNULL) == 0
)


@pytest.fixture(scope="module")
def finished(tiny_run) -> Iterator[Path]:
    """A folder with a name that needs quoting, in which the workflow has run once.

    It ran without a network and, where the tests run as root, as a user who owns the folder and
    cannot write anywhere in the checkout.
    """
    root = Path(tempfile.mkdtemp(prefix="a run with ünicode "))
    folder, blocker = root / "results here", root / "blocker"
    for path in (folder, blocker):
        path.mkdir()
    (blocker / "sitecustomize.py").write_text(NO_NETWORK)
    settings = command_line(folder)
    path = os.pathsep.join(filter(None, [str(blocker), os.environ.get("PYTHONPATH")]))
    settings["env"] |= {"PYTHONPATH": path, "HOME": str(root)}
    # The first process compiles the kernels and the others load them, which by numba differs in the
    # last bits: a first training, of a few crystals, leaves the workflow to the others.
    shutil.copytree(tiny_run.root, root / "tiny")
    inputs = "--config changes.json --graphs ../tiny/graphs --split ../tiny/split.parquet --seed 0"
    first = [sys.executable, "-m", "dglframer", "train", *inputs.split(), "--out", "../first"]
    if can_be_a_guest:
        subprocess.run(["chown", "-R", "nobody:nogroup", root], check=True)
    for command in (first, settings["args"]):
        settings["args"] = [*GUEST, *command] if can_be_a_guest else command
        done = subprocess.run(**settings, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    yield folder
    shutil.rmtree(root)


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


FINAL = """
tune/best.json models/seed-0/model.safetensors models/seed-1/model.safetensors
evaluation/predictions.parquet evaluation/metrics.json
""".split()


def test_the_same_bytes_in_another_folder_although_everything_was_killed_twice(finished, tmp_path):
    """kill -9 of the driver and all of its jobs, during a trial and during the training."""
    for sign in ("trial 0: {", "seed 0 epoch 1/2"):
        process = subprocess.Popen(
            **command_line(tmp_path),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        logs = tmp_path / "results" / "logs"
        while not any(sign in path.read_text() for path in logs.glob("*.txt")):
            assert process.poll() is None, f"it ended before {sign!r}"
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        snakemake(tmp_path, "--unlock")
    snakemake(tmp_path, "--rerun-incomplete")
    for name in FINAL:
        first, second = (folder / "results" / name for folder in (finished, tmp_path))
        assert_same_bytes(first, second)
    trials = json.loads((tmp_path / "results" / "tune" / "trials.json").read_text())
    assert [trial["number"] for trial in trials] == [0]
    assert trials[0]["number_in_storage"] == 1, "the one that was killed is number 0"


def test_the_driver_alone_is_killed_and_its_job_goes_on(finished, tmp_path):
    """kill -9 of Snakemake: its training lives. A second one in the same folder says whose it is.

    Snakemake removes what the training has written before it lets the second one try. The training ends
    all the same with a whole model, which a third one takes as it is.
    """
    for name in ("results", ".snakemake"):
        shutil.copytree(finished / name, tmp_path / name)
    for name in ("models", "evaluation", "checkpoints"):
        shutil.rmtree(tmp_path / "results" / name)
    (tmp_path / "results" / "report.html").unlink()  # else nothing is missing at the end
    log = tmp_path / "results" / "logs" / "train-seed-0.txt"
    log.unlink()
    driver = subprocess.Popen(
        **command_line(tmp_path, "--cores", "1", "results/models/seed-0/model.json"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (log.exists() and "seed 0 epoch 1/2" in log.read_text()):
        assert driver.poll() is None, "it ended before the first epoch"
        time.sleep(0.02)
    (job,) = trainings(tmp_path)
    driver.kill()
    driver.wait()
    job.suspend()  # not before: a group that is stopped as it loses its parent is sent SIGHUP
    assert (tmp_path / "results/models/seed-0/metrics.jsonl").exists()
    snakemake(tmp_path, "--unlock")
    again = ("--rerun-incomplete", "--cores", "1")
    second = snakemake(tmp_path, *again, "results/models/seed-0/model.json", check=False)
    said = second.stdout + second.stderr
    assert second.returncode != 0
    assert f"is in use by {job.pid}@" in said and "Traceback" not in said, said
    assert not (tmp_path / "results/models/seed-0").exists(), (
        "Snakemake does not remove it any more"
    )
    job.resume()
    assert psutil.wait_procs([job], timeout=120)[0] == [job], "it goes on for ever"
    weights = tmp_path / "results/models/seed-0/model.safetensors"
    made = weights.stat().st_mtime_ns
    epochs = [
        [without_times(line) for line in read_metrics(folder / "results/models/seed-0")]
        for folder in (finished, tmp_path)
    ]
    assert epochs[0] == epochs[1] and len(epochs[0]) == 2
    snakemake(tmp_path, "--rerun-incomplete")
    assert weights.stat().st_mtime_ns == made, "it was trained again"
    for name in FINAL:
        first, second = (folder / "results" / name for folder in (finished, tmp_path))
        assert_same_bytes(first, second)


def trainings(folder: Path) -> list[psutil.Process]:
    """The processes that train in a folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        if process.info["cwd"] == str(folder) and {"train", "--seed"} <= set(words):
            found.append(process)
    return found


def test_an_interrupted_command_says_what_it_has_to_say(finished, tmp_path):
    """Ctrl-C, then what a queue sends: the signal reaches every process of the job, `tee` as well."""
    for name in ("results", ".snakemake"):
        shutil.copytree(finished / name, tmp_path / name)
    config = {"seeds": [3], "tune": {"trials": 0}, "training": {"epochs": 3000}}
    log = tmp_path / "results" / "logs" / "train-seed-3.txt"
    for number, sign in (
        (signal.SIGINT, "starting at epoch 1"),
        (signal.SIGTERM, "going on after"),
    ):
        with (tmp_path / "output.txt").open("w") as output:
            process = subprocess.Popen(
                **command_line(tmp_path, "train", config=config),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        while not (log.exists() and "epoch" in (text := log.read_text()) and sign in text):
            assert process.poll() is None, (tmp_path / "output.txt").read_text()
            time.sleep(0.05)
        os.killpg(process.pid, number)
        assert process.wait(60) != 0
        message = f"dglframer: stopped by {signal.Signals(number).name} after "
        deadline = time.monotonic() + 30  # SIGTERM ends the shell before the command
        while message not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        for path in (log, tmp_path / "output.txt"):
            assert message in path.read_text() and "Traceback" not in path.read_text(), path
        assert "the same command goes on from results/checkpoints/seed-3/" in log.read_text()


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


def test_an_interrupted_training_goes_on(finished, tmp_path):
    """Snakemake removes the outputs of a job that was killed; the checkpoints are not among them."""
    shutil.copytree(finished / "results", tmp_path / "results")
    for name in ("model.json", "model.safetensors", "metrics.jsonl"):
        (tmp_path / "results" / "models" / "seed-1" / name).unlink()
    shutil.copytree(finished / ".snakemake", tmp_path / ".snakemake")
    snakemake(tmp_path, "results/models/seed-1/model.json")
    assert "going on after" in (tmp_path / "results/logs/train-seed-1.txt").read_text()
    for name in ("model.safetensors", "model.json", "metrics.jsonl"):
        first, second = (one / "results/models/seed-1" / name for one in (finished, tmp_path))
        assert_same_bytes(first, second)


def test_a_damaged_shard_stops_training_and_is_built_again_alone(finished, tmp_path):
    """A flipped byte in a page of data: the shard and its row group are named."""
    shutil.copytree(finished / "results", tmp_path / "results")
    shard = tmp_path / "results" / "graphs" / "shard-00001.parquet"
    whole = shard.read_bytes()
    column = pq.read_metadata(shard).row_group(0).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    damaged = bytearray(whole)
    damaged[start + column.total_compressed_size - 1] ^= 1
    shard.write_bytes(damaged)
    shutil.rmtree(tmp_path / "results" / "cache")
    command = "train --config results/config.json --graphs results/graphs --seed 0 --out model"
    output = subprocess.run(
        [sys.executable, "-m", "dglframer", *command.split(), "--split", "results/split.parquet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert output.returncode == 2
    assert "shard-00001.parquet, row group 0" in output.stderr
    assert "Traceback" not in output.stderr
    assert "snakemake --forcerun graphs" in output.stderr
    others = [one for one in shard.parent.glob("shard-*") if one != shard]
    made = [path.stat().st_mtime_ns for path in others]
    snakemake(tmp_path, "results/graphs/manifest.json", "--forcerun", "graphs")
    assert shard.read_bytes() == whole
    assert [path.stat().st_mtime_ns for path in others] == made and made


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
