"""A training that is killed, stopped or damaged ends with the bits of an undisturbed one."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from helpers.interrupted import Nursery, Training, kill_and_rerun

from dglframer.common.errors import DamagedFile, UserError
from dglframer.common.files import hash_of
from dglframer.config.networks import CrystalFramerConfig
from dglframer.data.split import read_split, write_split
from dglframer.graphs.dataset import GraphDataset
from dglframer.networks.inference import predict
from dglframer.networks.model_directory import load_model
from dglframer.training.checkpoints import Checkpoints, differences, open_checkpoints, read_snapshot
from dglframer.training.snapshot import Snapshot, random_states, restore_random_states

SMALL = {"blocks": 1, "width": 16, "heads": 2, "feedforward": 16, "angle_bins": 16}
EVERY_STEP = {"epochs": 4, "averaged_epochs": 2, "batch_size": 2, "checkpoint_minutes": 0.0}


@pytest.fixture(scope="module")
def make(tiny_run):
    """A function that makes a training in a folder."""
    nursery = Nursery()
    yield lambda folder, **training: make_training(nursery, tiny_run, folder, **training)
    nursery.close()


def make_training(nursery, tiny_run, folder, **training) -> Training:
    """Four epochs of three steps, a checkpoint after each, unless the settings say otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.json"
    config.write_text(json.dumps({"crystalframer": SMALL, "training": EVERY_STEP | training}))
    return Training(nursery, config, tiny_run.graphs, tiny_run.split, folder / "model")


@pytest.fixture(scope="module")
def whole(make, tmp_path_factory):
    """An undisturbed training, and the number of its calls."""
    training = make(tmp_path_factory.mktemp("whole"))
    return training, training.calls()


def assert_same(training: Training, whole: Training) -> None:
    """Weights, metrics, description, and the predictions made with them, bit for bit."""
    mine, other = training.results(), whole.results()
    for key in other:
        assert mine[key] == other[key], key
    ids = read_split(whole.split)["test"]
    dataset = GraphDataset(whole.graphs, ids)
    networks = [load_model(one.out).network for one in (training, whole)]
    mine, other = (predict(one, dataset, torch.device("cpu")) for one in networks)
    assert np.array_equal(mine, other)


def wait_until(condition, seconds=60) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_kills_at_random_moments_change_no_bit(make, whole, tmp_path):
    training = make(tmp_path)
    log = kill_and_rerun(training, 4, whole[1], seed=1)
    assert sum(one["killed"] for one in log) == 4, log
    assert_same(training, whole[0])


@pytest.mark.slow
def test_twenty_kills_change_no_bit(make, tmp_path):
    whole, training = (make(tmp_path / name, epochs=30) for name in ("whole", "killed"))
    log = kill_and_rerun(training, 20, whole.calls(), seed=2)
    assert sum(one["killed"] for one in log) == 20, log
    assert any(one["half_written"] for one in log)
    assert_same(training, whole)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_kills_at_random_times_change_no_bit(make, whole, tmp_path, seed):
    """Killed from outside, by the clock: inside steps and validations as well."""
    training = make(tmp_path)
    generator = np.random.default_rng(seed)
    for _ in range(4):
        training.run_for(generator.uniform(0, 0.5))
    assert training.run().returncode == 0
    assert_same(training, whole[0])


def test_a_kill_at_every_call_of_a_checkpoint_changes_no_bit(make, whole, tmp_path):
    """Each start is killed one call later than the one before, past a whole checkpoint."""
    training = make(tmp_path)
    inside = []
    for call in range(1, 23):
        before = training.checkpoints()
        killed = training.run(kill_at_call=call)
        assert killed.returncode == -signal.SIGKILL
        after = training.checkpoints()
        assert len(after) <= 3 and (not before or after[-1] >= before[-1])
        for folder in after:
            read_snapshot(folder)  # a checkpoint that is in place is whole
        inside.append(killed.stderr.rsplit("KILLED in ", 1)[1].strip())
    assert {"save_file", "fsync", "replace", "rmtree"} == set(inside)
    assert training.run().returncode == 0
    assert not list(training.out.glob("checkpoints/*/.*.tmp-*"))
    assert_same(training, whole[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signals_save_and_ask_for_a_requeue(make, tmp_path, number):
    settings = {"epochs": 400, "averaged_epochs": 0, "checkpoint_minutes": 60.0}
    training = make(tmp_path, **settings)
    stopped = training.run_for(1.0, number)
    text = stopped.stderr
    assert stopped.returncode == 75, text
    assert f"stopped by {number.name}" in text and "the same command goes on" in text
    steps = int(re.search(r"after (\d+) steps", text).group(1))
    assert steps > 0
    again = training.run_for(0.1, number)
    assert f"going on after {steps} steps" in again.stderr


def test_a_stopped_training_ends_with_the_same_bits(make, whole, tmp_path):
    """Checkpoints at the ends of epochs and at the signal, not after every step."""
    training = make(tmp_path, checkpoint_minutes=60.0)
    stopped = training.run_for(0.02, signal.SIGTERM)
    assert stopped.returncode in (75, 0), stopped.stderr
    assert training.run().returncode == 0
    mine, other = training.results(), whole[0].results()
    assert mine["weights"] == other["weights"] and mine["metrics"] == other["metrics"]


def test_a_finished_training_is_not_repeated(make, whole, tmp_path):
    """Lost outputs (Snakemake removes them before a rerun) are written again from the last state."""
    training = make(tmp_path)
    shutil.copytree(whole[0].out, training.out)
    for name in ("model.json", "model.safetensors", "metrics.jsonl"):
        (training.out / name).unlink()
    again = training.run()
    assert again.returncode == 0 and "going on after 12 steps" in again.stderr
    assert_same(training, whole[0])


def test_two_checkpoints_are_kept(whole):
    names = [folder.name for folder in whole[0].checkpoints()]
    assert names == ["epoch-000003-batch-00000003", "epoch-000004-batch-00000000"]


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(make, whole, tmp_path, file):
    training = make(tmp_path)
    training.run(kill_at_call=whole[1] // 2)
    older, newest = training.checkpoints()[-2:]
    data = bytearray((newest / file).read_bytes())
    data[len(data) // 2] ^= 1
    (newest / file).write_bytes(data)
    again = training.run()
    assert "damaged checkpoint" in again.stderr and file in again.stderr
    assert f"from {older}" in again.stderr
    assert_same(training, whole[0])


def test_without_any_whole_checkpoint_it_starts_anew_and_says_so(make, whole, tmp_path):
    training = make(tmp_path)
    training.run(kill_at_call=whole[1] // 2)
    for folder in training.checkpoints():
        (folder / "state.json").write_text("{")
    again = training.run()
    assert again.stderr.count("damaged checkpoint") == 2
    assert "starting at epoch 1" in again.stderr
    assert_same(training, whole[0])


def test_another_configuration_is_refused_with_the_differences(make, whole, tmp_path):
    training = make(tmp_path, learning_rate=0.25)
    shutil.copytree(whole[0].out, training.out)
    refused = training.run()
    assert refused.returncode == 2
    lines = [line.strip() for line in refused.stderr.splitlines() if " before, " in line]
    assert lines == ["settings.training.learning_rate: 0.001 before, 0.25 now"]
    assert "--restart" in refused.stderr
    training.options = ["--when-changed", "fresh"]
    fresh = training.run()
    assert fresh.returncode == 0 and "0.25 now" in fresh.stderr
    assert training.results()["weights"] != whole[0].results()["weights"]
    assert len(list(training.out.glob("checkpoints/*/identity.json"))) == 2
    training.options = []
    shutil.copy(whole[0].config, training.config)  # back to the first settings: still there
    back = training.run()
    assert "going on after 12 steps" in back.stderr
    assert_same(training, whole[0])
    training.options = ["--restart"]
    anew = training.run()
    assert "starting at epoch 1" in anew.stderr
    assert len(list(training.out.glob("checkpoints/*/identity.json"))) == 1


def test_other_data_are_refused(make, tiny_run, whole, tmp_path):
    training = make(tmp_path)
    shutil.copytree(whole[0].out, training.out)
    training.graphs = tmp_path / "graphs"
    shutil.copytree(tiny_run.graphs, training.graphs)
    manifest = json.loads((training.graphs / "manifest.json").read_text())
    manifest["settings_hash"] = "other"
    (training.graphs / "manifest.json").write_text(json.dumps(manifest))
    refused = training.run()
    assert refused.returncode == 2
    assert f"manifest_hash: {hash_of(tiny_run.manifest)} before" in refused.stderr


@pytest.mark.parametrize("changed", ["train", "val"])
def test_another_split_is_refused(make, whole, tmp_path, changed):
    """One crystal of ``changed`` and one of test change places; settings and graphs are the same."""
    training = make(tmp_path)
    shutil.copytree(whole[0].out, training.out)
    parts = read_split(whole[0].split)
    assigned = {id: name for name, ids in parts.items() for id in ids}
    assigned |= {parts[changed][0]: "test", parts["test"][0]: changed}
    training.split = tmp_path / "split.parquet"
    write_split(assigned, training.split, "canonical")
    refused = training.run()
    assert refused.returncode == 2
    lines = [line.strip() for line in refused.stderr.splitlines() if " before, " in line]
    assert [line.partition(":")[0] for line in lines] == [f"data.{changed}_ids_hash"]


def test_settings_without_effect_may_change(make, whole, tmp_path):
    training = make(tmp_path, checkpoint_minutes=5.0)
    shutil.copytree(whole[0].out, training.out)
    again = training.run()
    assert again.returncode == 0 and "going on after 12 steps" in again.stderr


def test_the_second_process_leaves(make, tmp_path):
    training = make(tmp_path, epochs=2000, averaged_epochs=0)
    first = training.start_and_step()
    second = training.run()
    assert second.returncode == 3
    assert f"in use by {first}@" in second.stderr and "Traceback" not in second.stderr
    wait_until(training.checkpoints)
    os.kill(first, signal.SIGKILL)
    assert training.wait(first).returncode == -signal.SIGKILL
    third = training.run_for(0.0, signal.SIGTERM)  # a killed process leaves no lock behind
    assert third.returncode == 75 and "going on after" in third.stderr


def test_a_signal_to_the_shell_and_tee_as_well_leaves_a_checkpoint(make, tmp_path):
    """A queue may signal the whole job: the shell and the tee of the Snakemake rule then die at once."""
    training = make(tmp_path, epochs=2000, averaged_epochs=0, checkpoint_minutes=60.0)
    command = " ".join([sys.executable, "-m", "dglframer", *training.arguments()])
    shell = ["bash", "-c", f"set -o pipefail; {command} 2>&1 | tee {training.log}"]
    process = subprocess.Popen(shell, stdout=subprocess.DEVNULL, start_new_session=True)
    wait_until(lambda: "epoch 2/" in training.log.read_text() if training.log.exists() else False)
    os.killpg(process.pid, signal.SIGUSR1)
    process.wait()
    # The training outlives its shell for a moment; until then its directory is in use.
    wait_until(lambda: training.run_for(0, signal.SIGTERM).returncode != 3)
    assert re.search(r"going on after \d+ steps, from .*batch-", training.log.read_text())


def test_a_full_disk_is_one_message_and_the_state_before_it_stays(tmp_path, monkeypatch):
    checkpoints = open_checkpoints(tmp_path, {"a": 1})
    snapshot = Snapshot({"x": torch.ones(3)}, {"b": 2})
    checkpoints.save(snapshot, 0, 1)

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(UserError, match="the disk is full"):
            checkpoints.save(snapshot, 0, 2)
    assert [folder.name for folder in checkpoints.folder.iterdir()] != []
    newest = checkpoints.newest()
    assert newest.name == "epoch-000000-batch-00000001"
    assert not list(checkpoints.folder.glob(".*"))
    assert read_snapshot(newest).values == {"b": 2}


def test_a_pickle_in_place_of_the_tensors_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path, {})
    folder = checkpoints.save(Snapshot({"x": torch.ones(3)}, {}), 0, 0)
    torch.save({"x": 1}, folder / "tensors.safetensors")
    with pytest.raises(DamagedFile, match=r"tensors\.safetensors"):
        read_snapshot(folder)


def test_every_random_generator_is_restored():
    import random

    states = random_states()
    json.dumps(states)
    first = [torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), random.gauss()]
    restore_random_states(json.loads(json.dumps(states)))
    again = [torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), random.gauss()]
    assert first == again


def test_differences_name_every_key_with_both_values():
    before = {"a": {"b": 1, "c": 2}, "d": None}
    now = {"a": {"b": 1, "c": 3}, "e": "x"}
    assert differences(before, now) == [
        "a.c: 2 before, 3 now",
        "d: None before, absent now",
        "e: absent before, x now",
    ]


def test_what_a_checkpoint_holds(whole):
    """Every part of the state that the documentation names."""
    newest = read_snapshot(whole[0].checkpoints()[-2])
    kinds = {name.split(".")[0] for name in newest.tensors}
    assert kinds == {"network", "averaged", "optimizer", "epoch"}
    moments = {name.split(".")[1] for name in newest.tensors if name.startswith("optimizer")}
    assert moments == {"step", "exp_avg", "exp_avg_sq", "momentum_buffer"}
    order = newest.tensors["epoch.order"].tolist()
    assert sorted(order) == list(range(6))
    assert set(newest.values["random"]) == {"torch", "cuda", "numpy", "python"}
    assert newest.values["current"]["batch"] == 3 and newest.values["best"]["epoch"] <= 3
    identity = json.loads((whole[0].checkpoints()[-1].parent / "identity.json").read_text())
    assert identity["settings"]["crystalframer"]["blocks"] == CrystalFramerConfig(**SMALL).blocks
    assert len(identity["data"]["manifest_hash"]) == 64
