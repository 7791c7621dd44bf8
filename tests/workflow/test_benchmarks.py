"""The benchmark's baseline computes what the model computes; the script of the numbers runs."""

import argparse
import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.crystals import crystal
from helpers.paths import ROOT

from dglframer.config import parse_config
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import batch_graphs
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.structures.periodic_graph import build_graph

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    """Import a module of the benchmarks folder, which is no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def generic():
    """Two crystals without ties: a sheared rock-salt cell and a triclinic one, none thin."""
    sheared = 3.4 * (np.ones((3, 3)) - np.eye(3)) + [[0, 0.1, 0.2], [0.3, 0, -0.1], [-0.2, 0.4, 0]]
    triclinic = [[5.1, 0.3, -0.2], [-1.3, 5.6, 0.4], [0.9, 1.7, 6.3]]
    frac = [[0.03, 0.11, 0.92], [0.31, -0.42, 0.57], [1.68, 0.77, 0.24]]
    return [
        crystal("sheared", "Na Cl", sheared, [[0, 0, 0], [0.52, 0.47, 0.49]]),
        crystal("triclinic", "Li Si O", triclinic, frac),
    ]


def test_the_literal_formulation_equals_the_model(benchmark, generic):
    """Outputs and gradients, in float64; what differs is which far images each leaves out."""
    literal = benchmark("literal")
    model = CrystalFramerConfig(blocks=2, width=32, heads=4, feedforward=32, frame_ties="first")
    batch = batch_graphs([build_graph(one, 11.9) for one in generic], torch.float64)
    network = CrystalFramer(model).draw(0).double()
    network.calibrate(batch)
    baseline = literal.LiteralFramer(model).double()
    baseline.load_state_dict(network.state_dict())
    images = [literal.Images(one, model.r0_angstrom, torch.float64) for one in generic]
    outputs = network(batch), baseline.predict(images)
    assert abs(outputs[0] - outputs[1]).max() < 1e-4 * abs(outputs[0]).max()
    for output in outputs:
        (output[0] - output[1]).sum().backward()
    for ours, theirs in zip(network.parameters(), baseline.parameters(), strict=True):
        assert abs(ours.grad - theirs.grad).max() < 1e-3 * abs(ours.grad).max() + 1e-12


def test_counted_work_grows_as_stated(benchmark):
    limits = benchmark("speed_limits")
    model = CrystalFramerConfig()
    train, infer = (limits.work(model, 1000, 170_000, mode) for mode in ("train", "infer"))
    framed, plain = infer, limits.work(CrystalFramerConfig(frame="none"), 1000, 170_000, "infer")
    assert train["gflop"] > 2 * infer["gflop"] > 2 * plain["gflop"]
    assert framed["gexp"] == plain["gexp"] == train["gexp"]
    twice = limits.work(model, 2000, 340_000, "train")
    assert twice["gflop"] == pytest.approx(2 * train["gflop"])


def test_what_is_kept_is_made_once(benchmark, tmp_path):
    kept, made = benchmark("trainings").kept, []
    for keys in (("runs", "a"), ("runs", "b"), ("runs", "a")):
        assert kept(tmp_path / "found.json", keys, lambda: made.append(1) or len(made)) <= 2
    kept(tmp_path / "found.json", ("c",), lambda: kept(tmp_path / "found.json", ("d",), lambda: 3))
    found = json.loads((tmp_path / "found.json").read_text())
    assert found == {"runs": {"a": 1, "b": 2}, "c": 3, "d": 3}


def test_every_recipe_is_a_configuration(benchmark, tmp_path):
    recipe = benchmark("recipe")
    args = argparse.Namespace(folder=tmp_path, second_target="hull")
    given = parse_config({"dataset": {"targets": ["energy", "gap"]}})
    found = {name: recipe.configured(given, args, name, 7) for name in recipe.RECIPES}
    assert found["plain"].dataset.target_references == {}
    both = {"energy": "composition", "gap": "composition"}
    assert found["default, second target"].dataset.targets == ("energy", "gap", "hull")
    assert found["default, edges to 11 A"].graphs.cutoff_angstrom == 11
    for name in ("composition reference", "default, composition reference"):
        assert found[name].dataset.target_references == both
    even = {name for name, one in found.items() if one.crystalframer.even_third_axis}
    assert even == {
        "even third axis with frames",
        "default, even third axis",
        "then 15 epochs with an even third axis",
    }
    for name in even:
        assert found[name].crystalframer.frame == "max"
    start = found["then 15 epochs with an even third axis"].training.init_from
    assert start == str(tmp_path / "plain" / "seed-7")


def test_the_words_of_the_proof_follow_from_its_numbers(benchmark):
    """The order is that of validation, the comparisons are those of test, seed by seed."""

    def runs(*errors):
        return {str(k): {"val": val, "test": test} for k, (val, test) in enumerate(errors)}

    found = {
        "boosting": {"500": {"0": runs((0.2, 0.2), (0.2, 0.3))}},
        "none": {"500": {"60": runs((0.1, 0.12), (0.1, 0.16))}},
        "max": {"500": {"60": runs((0.05, 0.11), (0.05, 0.31))}},
    }
    said = benchmark("proof_page").standing({"runs": found}, "500")
    ranked, ahead, frames = said
    assert ranked.endswith(
        "CrystalFramer with frames 0.2100, CrystalFramer without frames 0.1400, "
        "gradient boosting 0.2500."
    )
    assert ahead.endswith("every seed: CrystalFramer without frames.")
    assert frames.startswith("CrystalFramer with frames has 1.50 times the test error of")
    assert frames.endswith("a lower one with 1 of 2 seeds.")


def test_the_proof_compares_sizes_at_a_budget_of_both(benchmark):
    def runs(error):
        return {"0": {"val": error, "test": error}}

    found = {
        "none": {"500": {"50": runs(0.4)}, "2000": {"50": runs(0.3), "150": runs(0.1)}},
        "boosting": {"500": {"0": runs(0.4)}, "2000": {"0": runs(0.2)}},
    }
    page = benchmark("proof_page")
    assert page.gains_of_crystals({"runs": found}, ["500", "2000"]) == [
        "From 500 to 2,000 crystals the test error is multiplied by 0.75 (CrystalFramer without frames), "
        "0.50 (gradient boosting), each with 50 CPU seconds."
    ]
    said = page.standing({"runs": found}, "2000")
    assert said[-1] == "3 times the CPU time multiplies it by 0.33 (CrystalFramer without frames)."


def test_the_proof_says_nothing_of_sizes_without_a_shared_budget(benchmark, tmp_path):
    def runs(error, machine="m"):
        run = {"val": error, "test": error, "cpu_seconds": 50.0, "epochs": [1], "machine": machine}
        return {"0": run}

    found = {
        "none": {"500": {"50": runs(0.4)}, "2000": {"150": runs(0.1)}},
        "tfn": {"2000": {"150": runs(0.3, "n")}},
        "boosting": {"500": {"0": runs(0.4)}, "2000": {"0": runs(0.2)}},
    }
    page = benchmark("proof_page")
    head = {"target": "e", "unit": "eV", "val": 5, "test": 5}
    assert page.gains_of_crystals({"runs": found}, ["500", "2000"]) == []
    text = page.rendered(head | {"runs": found})
    assert (
        "Ahead of gradient boosting on test with every seed: CrystalFramer without frames." in text
    )
    # A machine is said once where there is one, and for each method where there are several.
    assert "**500 training crystals**, on m." in text
    assert "**2,000 training crystals**, on m; n." in text
    assert "| 50 | CrystalFramer without frames | 1 | 1 | 50 | 0.4000 | 0.4000 |\n" in text
    assert "| 150 | TFN | 1 | 1 | 50 | 0.3000 | 0.3000 | n |" in text
    page.drawn(tmp_path / "proof.svg", head | {"runs": found})
    assert "2,000" in (tmp_path / "proof.svg").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_script_runs(tmp_path):
    output = tmp_path / "speed.json"
    command = [sys.executable, str(BENCHMARKS / "speed.py"), "--quick", "--output", str(output)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    numbers = json.loads(output.read_text())
    assert "| fast |" in run.stdout and "EXTRAPOLATED" in run.stdout
    assert any("peers" in reason for reason in numbers["left_out"])
    cases = {row["case"] for row in numbers["steps"]}
    assert cases == {"fast", "plain, DGL", "plain, torch", "fast, frame none"}
    assert all(row["ms_per_crystal"] > 0 for row in numbers["steps"])
    assert numbers["literal"]["difference"] < 1e-5
    assert all(row["ratio"] > 1 for row in numbers["literal"]["rows"])
    for row in numbers["memory"]:
        assert 0 < row["base_mib"] <= row["peak_mib"]
    errors = {(row["cutoff"], row["dtype"]): row["max_error"] for row in numbers["accuracy"][:4]}
    assert errors[11.88, "float64"] < 1e-9 and max(errors.values()) < 1e-4
    assert all(row["share_of_sgemm"] > 0 for row in numbers["limits"])
