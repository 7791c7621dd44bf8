"""Model directories and checkpoints that are damaged, of another form, or hold code."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from helpers.models import make_model
from safetensors.torch import load_file, save_file

from dglframer.common.errors import DamagedFile, UserError
from dglframer.networks.model_directory import load_model
from dglframer.networks.published_checkpoint import read_checkpoint


@pytest.fixture
def model(tmp_path) -> Path:
    return make_model(tmp_path / "model")


def damage(model: Path, how: str) -> None:
    weights, description = model / "model.safetensors", model / "model.json"
    content = json.loads(description.read_text())
    if how == "flipped byte":
        data = bytearray(weights.read_bytes())
        data[-5] ^= 1
        weights.write_bytes(data)
    elif how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "no weights":
        weights.unlink()
    elif how == "pickle for weights":
        weights.write_bytes(pickle.dumps({"a": 1}))
    elif how == "not json":
        description.write_text("{")
    elif how == "newer format":
        description.write_text(json.dumps(content | {"format_version": 99}))
    elif how == "no targets":
        content.pop("targets")
        description.write_text(json.dumps(content))
    elif how == "unknown setting":
        content["settings"]["depth"] = 3
        description.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "how",
    "flipped byte,truncated,no weights,pickle for weights,not json,newer format,no targets,"
    "unknown setting".split(","),
)
def test_damaged_model_is_named(model, how):
    damage(model, how)
    with pytest.raises(DamagedFile, match=str(model)):
        load_model(model)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_file_of_the_model_in_place_of_its_folder(model, name):
    with pytest.raises(UserError, match=f"give its folder, {model}$"):
        load_model(model / name)


def test_weights_of_another_shape_are_named(model):
    """The hash agrees, the shapes do not."""
    from dglframer.common.files import sha256

    weights = load_file(model / "model.safetensors")
    weights["embedding.weight"] = weights["embedding.weight"][:, :8].contiguous()
    save_file(weights, model / "model.safetensors")
    content = json.loads((model / "model.json").read_text())
    content["weights_sha256"] = sha256(model / "model.safetensors")
    (model / "model.json").write_text(json.dumps(content))
    with pytest.raises(DamagedFile, match=r"model\.safetensors"):
        load_model(model)


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path("dglframer-was-here"),))


def test_checkpoint_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Malicious()}, "evil.ckpt")
    with pytest.raises(DamagedFile, match=r"evil\.ckpt: refused.*getattr") as error:
        read_checkpoint(Path("evil.ckpt"))
    for advice in ("weights_only", "safe_globals", "torch.load", "\n"):
        assert advice not in str(error.value)
    assert not Path("dglframer-was-here").exists()


@pytest.mark.parametrize(
    "content", [{}, [1, 2], {"state_dict": {}, "hyper_parameters": {}}], ids=str
)
def test_other_torch_files_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(DamagedFile, match=r"other\.ckpt"):
        read_checkpoint(tmp_path / "other.ckpt")


def test_text_is_no_checkpoint(tmp_path):
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(DamagedFile, match=r"text\.ckpt: refused.*damaged") as error:
        read_checkpoint(tmp_path / "text.ckpt")
    assert "weights_only" not in str(error.value)
