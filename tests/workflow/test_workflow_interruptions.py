"""Runs of the workflow that are killed, stopped or disturbed, and what the next one makes of it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
from helpers.interrupted import without_times
from helpers.same_bytes import assert_same_bytes
from helpers.workflow import command_line, snakemake

from dglframer.training.metrics import read_metrics

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
