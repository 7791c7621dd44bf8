"""The folder of a trained model: its weights, curve.jsonl, timing.json, model.json. Nothing is pickled."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file
from torch import nn

from dglframer.common.errors import DamagedFile
from dglframer.common.files import read_json, read_json_lines, sha256, write_json, write_text
from dglframer.common.version import __version__
from dglframer.experiments.fitting import Trained
from dglframer.networks.model_directory import save_weights

FORMAT_VERSION = 1


def save_trained(
    trained: Trained, description: Mapping[str, Any], data_hash: str, threads: int, out: Path
) -> None:
    """Write the folder, and last model.json with the description and the hash of the weights."""
    weights_hash = save_weights(trained.network, out)
    write_text(out / "curve.jsonl", "".join(json.dumps(line) + "\n" for line in trained.curve))
    device = next(trained.network.parameters()).device
    clock = "GPU, wall" if device.type == "cuda" else f"CPU, {threads} thread(s)"
    write_json(out / "timing.json", {"seconds_per_step": trained.seconds_per_step, "clock": clock})
    values = {
        "format_version": FORMAT_VERSION,
        "written_by": f"dglframer {__version__}",
        **description,
        "parameters": sum(one.numel() for one in trained.network.parameters()),
        "best": trained.best,
        "data_sha256": data_hash,
        "weights_sha256": weights_hash,
    }
    write_json(out / "model.json", values)


def load_trained(
    folder: Path, build: Callable[[Mapping[str, Any]], nn.Module]
) -> tuple[nn.Module, dict[str, Any]]:
    """The network (CPU, float32) and the content of model.json, from which ``build`` makes the network.

    Raises DamagedFile.
    """
    values = read_json(folder / "model.json")
    path = folder / "model.safetensors"
    try:
        if sha256(path) != values["weights_sha256"]:
            raise DamagedFile(f"{path}: not the weights of model.json beside it")
        network = build(values)
        network.load_state_dict(load_file(path))
    except (OSError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        raise DamagedFile(f"{folder}: not a model of this experiment ({error})") from None
    return network.eval(), values


def row_of(folder: Path, values: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """What an evaluation states of a model: the content of its files except the weights.

    Raises DamagedFile if it was trained on other data than the file ``data``.
    """
    if values["data_sha256"] != sha256(data):
        raise DamagedFile(f"{folder}: trained on another data set than {data}")
    left_out = ("format_version", "written_by", "data_sha256", "weights_sha256")
    stated = {key: value for key, value in values.items() if key not in left_out}
    curve = read_json_lines(folder / "curve.jsonl")
    return {**stated, **read_json(folder / "timing.json"), "curve": curve}
