"""Several processes: parts of batches; the result of a training does not depend on their number."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from dglframer.common.elements import element_counts
from dglframer.common.errors import UserError
from dglframer.config import parse_config
from dglframer.data.split import read_split
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.loading import EpochShuffle
from dglframer.graphs.own_shards import Share
from dglframer.networks.inference import predict
from dglframer.networks.model_directory import load_model
from dglframer.training.distributed import parts_by_edges
from dglframer.training.prepare import prepare

THEN_LIST_THREADS = """
import sys
from pathlib import Path
from dglframer.cli.main import main
status = main()
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
left = [name for name in names if "gloo" in name]
sys.stderr.write(f"left running: {left}\\n")  # one write: the lines of two processes do not mix
sys.exit(status)
"""
SMALL = {"blocks": 1, "width": 16, "heads": 2, "feedforward": 16, "angle_bins": 16}


def test_parts_have_equal_edges_and_hold_every_index_once():
    rng = np.random.default_rng(0)
    edges_G = rng.integers(50, 1000, 200)
    indices = rng.permutation(200)[:64]
    parts = parts_by_edges(indices, edges_G, 4)
    assert sorted(np.concatenate(parts)) == sorted(indices)
    loads = [edges_G[part].sum() for part in parts]
    assert max(loads) - min(loads) < 0.02 * sum(loads)
    for part in parts:  # in the order of the batch
        assert (np.diff([list(indices).index(index) for index in part]) > 0).all()


def test_fewer_crystals_than_processes_leave_some_without():
    parts = parts_by_edges(np.array([3, 1]), np.array([9, 5, 9, 7]), 3)
    assert [part.tolist() for part in parts] == [[3], [1], []]


def command(tiny_run, folder: Path, processes: int, **training) -> list[str]:
    """`dglframer train` by torchrun, or by itself for one process."""
    folder.mkdir(exist_ok=True)
    config = folder / "config.json"
    settings = {"epochs": 3, "averaged_epochs": 1, "batch_size": 5, "checkpoint_minutes": 0}
    config.write_text(json.dumps({"crystalframer": SMALL, "training": settings | training}))
    run = "-m torch.distributed.run --standalone --nproc-per-node".split()
    launcher = [*run, str(processes)] if processes > 1 else []
    train = f"-m dglframer train --seed 0 --device cpu --config {config} --graphs {tiny_run.graphs}"
    out = ["--split", str(tiny_run.split), "--out", str(folder / "model")]
    return [sys.executable, *launcher, *train.split(), *out]


def train(tiny_run, folder: Path, processes: int, **training) -> str:
    """Run to the end; returns the standard error output."""
    words = command(tiny_run, folder, processes, **training)
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def assert_close(one: Path, other: Path) -> None:
    """Weights and metrics of two model directories agree to rounding.

    The biases of keys are left out: they add the same number to all logits of an atom and so change
    no output. Their gradient is rounding alone, and the optimiser scales it to steps of the usual size.
    """
    first, second = (load_file(path / "model" / "model.safetensors") for path in (one, other))
    assert first.keys() == second.keys()
    for name in [name for name in first if not name.endswith("key.bias")]:
        assert np.allclose(first[name], second[name], rtol=1e-4, atol=1e-5), name
    lines = [(path / "model" / "metrics.jsonl").read_text().splitlines() for path in (one, other)]
    assert len(lines[0]) == len(lines[1]) == 3
    for first, second in zip(*(map(json.loads, each) for each in lines), strict=True):
        for key in ("train_loss", "val_loss"):
            assert first[key] == pytest.approx(second[key], rel=1e-4)


def test_the_result_does_not_depend_on_the_number_of_processes(tiny_run, tmp_path):
    """Six crystals in batches of five: the second batch of an epoch has no crystal for one process."""
    train(tiny_run, tmp_path / "one", 1)
    said = train(tiny_run, tmp_path / "two", 2)
    assert "x 2 processes" in said and said.count("epoch 3/3") == 1
    assert_close(tmp_path / "one", tmp_path / "two")


def test_threads_of_the_network_end_with_the_training(tiny_run, tmp_path):
    """A thread that still runs may abort its process as it ends, after a good training."""
    script = tmp_path / "script.py"
    script.write_text(THEN_LIST_THREADS)
    words = command(tiny_run, tmp_path / "two", 2, epochs=1)
    start = words.index("dglframer")
    words[start - 1 : start + 1] = [str(script)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("left running: []") == 2, done.stderr


@pytest.mark.slow
def test_killed_processes_go_on_and_other_numbers_may_take_over(tiny_run, tmp_path):
    """Two processes are killed, two finish; then one alone finds the training finished."""
    train(tiny_run, tmp_path / "whole", 1)
    folder = tmp_path / "killed"
    two = command(tiny_run, folder, 2)
    process = subprocess.Popen(two, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(folder.glob("model/checkpoints/*/epoch-*")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    said = train(tiny_run, folder, 2)
    assert re.search(r"x 2 processes: going on after \d+ steps", said)
    assert_close(tmp_path / "whole", folder)
    assert "going on after 6 steps" in train(tiny_run, folder, 1)


@pytest.mark.parametrize(
    "sent, options",
    [
        (signal.SIGTERM, []),
        pytest.param(
            signal.SIGUSR1,
            ["--signals-to-handle", "SIGTERM,SIGUSR1"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_signal_to_torchrun_saves(tiny_run, tmp_path, sent, options):
    """torchrun passes SIGTERM on, other signals if told to; it has its own exit status."""
    endless = {"epochs": 3000, "averaged_epochs": 0, "checkpoint_minutes": 60}
    words = command(tiny_run, tmp_path / "run", 2, **endless)
    first = words.index("--standalone")
    words[first:first] = options
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    said = []
    for line in process.stderr:
        said.append(line)
        if "epoch 3/" in line:
            process.send_signal(sent)
            break
    said += process.stderr.readlines()
    assert process.wait() not in (0, 75)
    text = "".join(said)
    steps = int(re.search(r"stopped by .* after (\d+) steps", text).group(1))
    newest = sorted((tmp_path / "run").glob("model/checkpoints/*/epoch-*"))[-1]
    assert json.loads((newest / "state.json").read_text())["values"]["step"] == steps


IN_A_FOLDER_OF_ITS_OWN = """
import os, sys
from dglframer.cli.main import main
place = sys.argv.index("--graphs") + 1
sys.argv[place] = f"{sys.argv[place]}-{os.environ['RANK']}/graphs"
sys.exit(main())
"""


@pytest.fixture
def two_hosts(tiny_run, tmp_path):
    """A graph folder for each of two processes, in which the shards of the other one are deleted."""
    for rank in (0, 1):
        graphs = shutil.copytree(tiny_run.graphs, tmp_path / f"host-{rank}" / "graphs")
        for one in tiny_run.manifest["shards"][1 - rank :: 2]:
            (graphs / one["file"]).unlink()
    return tmp_path / "host"


def on_two_hosts(tiny_run, hosts, folder, *options, **training):
    """The command line of a training whose processes have a graph folder each."""
    words = command(tiny_run, folder, 2, **training)
    script = folder / "script.py"
    script.write_text(IN_A_FOLDER_OF_ITS_OWN)
    start = words.index("dglframer")
    words[start - 1 : start + 1] = [str(script)]
    words[words.index("--graphs") + 1] = str(hosts)
    return [*words, *options]


def test_each_process_reads_its_own_shards_alone(tiny_run, two_hosts, tmp_path):
    """The files of the other process are not there. Counts, statistics and errors are of all crystals."""
    words = on_two_hosts(tiny_run, two_hosts, tmp_path / "run", "--own-shards")
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        (cache,) = (two_hosts.parent / f"host-{rank}" / "cache").iterdir()
        assert cache.name.endswith(f"-{rank}-of-2")
    parts = read_split(tiny_run.split)
    train_set, val_set = (GraphDataset(tiny_run.graphs, parts[name]) for name in ("train", "val"))
    model = load_model(tmp_path / "run" / "model")
    assert model.history["training_crystals"] == len(train_set)
    assert model.training_elements == element_counts(train_set.compositions())
    mean_T, std_T = train_set.target_statistics()
    assert [one.mean for one in model.targets] == pytest.approx(mean_T, rel=1e-12)
    assert [one.std for one in model.targets] == pytest.approx(std_T, rel=1e-12)
    predicted_GT = predict(model.network, val_set, torch.device("cpu"))
    learned_GT = (val_set.targets[val_set.rows] - mean_T) / std_T
    last = json.loads((tmp_path / "run/model/metrics.jsonl").read_text().splitlines()[-1])
    assert last["val_loss"] == pytest.approx(
        np.abs(predicted_GT - learned_GT).mean(0).sum(), rel=1e-5
    )
    shares = [GraphDataset(tiny_run.graphs, parts["train"], share=Share(k, 2)) for k in (0, 1)]
    steps = max(-(-len(one) // count) for one, count in zip(shares, (3, 2), strict=True))
    assert last["step"] == 3 * steps  # of 3 crystals of the first process and 2 of the second


def test_own_shards_have_the_composition_reference_of_all_crystals(tiny_run, two_hosts, tmp_path):
    words = on_two_hosts(tiny_run, two_hosts, tmp_path / "run", "--own-shards", epochs=1)
    name = "formation_energy_peratom"
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    settings["dataset"] = {"targets": [name], "target_references": {name: "composition"}}
    (tmp_path / "run" / "config.json").write_text(json.dumps(settings))
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    parts = read_split(tiny_run.split)
    sets = [GraphDataset(tiny_run.graphs, parts[part]) for part in ("train", "val")]
    config = parse_config(settings)
    alone = prepare(config, *sets, 0, torch.device("cpu"))
    target = load_model(tmp_path / "run" / "model").targets[0]
    assert target.composition == pytest.approx(alone.slopes_T[0], abs=1e-9)
    assert (target.mean, target.std) == pytest.approx((alone.mean_T[0], alone.std_T[0]))


def test_without_own_shards_the_files_of_the_others_are_missed(tiny_run, two_hosts, tmp_path):
    words = on_two_hosts(tiny_run, two_hosts, tmp_path / "run")
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode != 0 and "missing or not the bytes in the manifest" in done.stderr


@pytest.mark.slow
def test_own_shards_go_on_to_the_same_bits(tiny_run, two_hosts, tmp_path):
    """Stopped in the second epoch, also the process that does not write finds its place."""
    whole = on_two_hosts(tiny_run, two_hosts, tmp_path / "whole", "--own-shards")
    subprocess.run(whole, check=True, capture_output=True)
    folder = tmp_path / "killed"
    words = on_two_hosts(tiny_run, two_hosts, folder, "--own-shards")
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 300
    while not list(folder.glob("model/checkpoints/*/epoch-000001-*")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run(words, check=True, capture_output=True)
    name = "model/model.safetensors"
    assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_shares_of_two_processes_are_all_crystals(tiny_run):
    """Each crystal is with one process; the order follows from seed, epoch, rank and number."""
    every = GraphDataset(tiny_run.graphs)
    shares = [GraphDataset(tiny_run.graphs, every.ids, share=Share(rank, 2)) for rank in (0, 1)]
    assert sorted(shares[0].ids + shares[1].ids) == every.ids and all(map(len, shares))
    first, other = (list(EpochShuffle(6, 0, Share(rank, 2))) for rank in (0, 1))
    assert sorted(first) == sorted(other) == list(range(6)) and first != other
    assert first == list(np.random.default_rng([0, 0, 0, 2]).permutation(6))
    with pytest.raises(UserError, match="3 shards are too few for 4 processes"):
        GraphDataset(tiny_run.graphs, share=Share(3, 4))
