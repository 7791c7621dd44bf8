"""Reading a model directory is reading alone, and a hostile one is refused at once."""

import json
import os
import resource
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dglframer.common.errors import DamagedFile
from dglframer.common.files import sha256
from dglframer.networks.model_directory import load_model, save_model

FORMAT_3 = Path(__file__).parent / "models" / "format-3"
STATE_AROUND_LOADING = """
import json, os, sys
import torch
from pathlib import Path
from dglframer.networks.model_directory import load_model

def state():
    return {
        "environment": dict(os.environ),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "random": torch.get_rng_state().tolist(),
    }

before = state()
load_model(Path(sys.argv[1]))
print(json.dumps([before, state()]))
"""


def test_loading_a_model_changes_nothing_in_the_process():
    """In a process of its own: the tests' process has settled MKL (conftest.py)."""
    environment = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    done = subprocess.run(
        [sys.executable, "-c", STATE_AROUND_LOADING, str(FORMAT_3)],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    before, after = json.loads(done.stdout)
    assert after == before
    assert "MKL_CBWR" not in after["environment"]


@pytest.fixture
def model(tmp_path) -> Path:
    """A copy of a stored CrystalFramer."""
    return Path(shutil.copytree(FORMAT_3.with_name("format-2"), tmp_path / "model"))


def edit(model: Path, **changes) -> None:
    """Change keys of model.json; ``settings`` and ``target`` are merged, None removes a key."""
    path = model / "model.json"
    values = json.loads(path.read_text())
    values["settings"] |= changes.pop("settings", {})
    values["targets"][0] |= changes.pop("target", {})
    values |= changes
    path.write_text(json.dumps({key: one for key, one in values.items() if one is not None}))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"cutoff_angstrom": -6.0}, "cutoff_angstrom"),
        ({"cutoff_angstrom": 0}, "cutoff_angstrom"),
        ({"cutoff_angstrom": 1e9}, "cutoff_angstrom"),
        ({"cutoff_angstrom": "6"}, "cutoff_angstrom"),
        ({"cutoff_angstrom": float("nan")}, "cutoff_angstrom"),
        ({"cutoff_angstrom": None}, "cutoff_angstrom"),
        ({"targets": []}, "targets"),
        ({"targets": "energy"}, "targets"),
        ({"target": {"std": 0.0}}, r"targets\.0\.std"),
        ({"target": {"std": -1.0}}, r"targets\.0\.std"),
        ({"target": {"mean": float("inf")}}, r"targets\.0\.mean"),
        ({"target": {"mean": "zero"}}, r"targets\.0\.mean"),
        ({"target": {"name": ""}}, r"targets\.0\.name"),
        ({"target": {"colour": "red"}}, r"targets\.0\.colour"),
        ({"target": {"composition": {"Xx": 1.0}}}, r"targets\.0\.composition\.Xx.*an element"),
        ({"target": {"composition": {"O": "1"}}}, r"targets\.0\.composition\.O"),
        ({"target": {"composition": {"O": float("nan")}}}, r"targets\.0\.composition\.O"),
        ({"history": None}, "history"),
        ({"history": []}, "history"),
        ({"format_version": "2"}, "format 2"),
        ({"format_version": [2]}, "format"),
        ({"encoder": "cgcnn"}, "encoder: .*cgcnn"),
        ({"encoder": ["crystalframer"]}, "encoder"),
        ({"extra": 1}, "extra"),
        ({"settings": {"blocks": 10**7}}, r"settings\.blocks"),
        ({"settings": {"blocks": 200}}, "does not fit model.json"),
        ({"settings": {"blocks": "1"}}, r"settings\.blocks"),
        ({"settings": {"width": 65_536}}, "does not fit model.json"),
        ({"settings": {"angle_bins": 65_536, "distance_bins": 65_536}}, "does not fit model.json"),
        ({"settings": {"r0_angstrom": float("nan")}}, r"settings\.r0_angstrom"),
        ({"encoder": "tfn"}, "settings"),
    ],
    ids=str,
)
def test_a_wrong_description_is_refused_at_once(model, changes, named):
    """Named with its file and its key, before memory is taken for what it asks."""
    edit(model, **changes)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(DamagedFile, match=named) as error:
        load_model(model)
    assert str(model) in str(error.value) and "\n" not in str(error.value)
    assert time.process_time() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"format_version": 2, "weights_sha256": ' + "[" * 200_000,
        '{"format_version": 2, "weights_sha256": ' + "9" * 5000 + "}",
        '{"format_version": ' + "9" * 4000 + ', "weights_sha256": ""}',
        '{"format_version": 2, "weights_sha256": "' + "x" * 2**24 + '"}',
    ],
    ids=["lists", "lists inside", "a long number", "a long version", "a long text"],
)
def test_a_description_without_end_is_refused(model, text):
    (model / "model.json").write_text(text)
    with pytest.raises(DamagedFile, match=r"model\.json"):
        load_model(model)


def replace_weights(model: Path, change) -> None:
    """Change the tensors; the hash in model.json follows."""
    weights = load_file(model / "model.safetensors")
    save_file(change(weights), model / "model.safetensors")
    edit(model, weights_sha256=sha256(model / "model.safetensors"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda _: {}, "absent"),
        (lambda weights: weights | {"more": torch.ones(2)}, "more has the shape"),
        (lambda weights: {k: v.bfloat16() for k, v in weights.items()}, "BF16"),
        (lambda weights: {k: v.to(torch.int32) for k, v in weights.items()}, "I32"),
        (lambda weights: weights | {"head.output.bias": torch.ones(2).double()}, "F32, F64"),
    ],
    ids=["none", "one more", "bfloat16", "integers", "mixed"],
)
def test_other_tensors_than_the_networks_are_refused(model, change, named):
    replace_weights(model, change)
    with pytest.raises(DamagedFile, match=rf"model\.safetensors: .*{named}"):
        load_model(model)


def test_weights_in_half_precision_compute_in_single(model):
    full = load_model(model).network.state_dict()
    replace_weights(model, lambda weights: {k: v.half() for k, v in weights.items()})
    for name, tensor in load_model(model).network.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, full[name].half().float())


def test_the_files_of_a_model_follow_the_umask(tmp_path):
    read = load_model(FORMAT_3)
    before = os.umask(0o027)
    try:
        save_model(read, tmp_path / "model")
    finally:
        os.umask(before)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "model").iterdir()
    }
    assert modes == {"model.json": 0o640, "model.safetensors": 0o640}
