"""Errors and equivariance of trained models on the test simulations of one data set."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dglframer.common.progress import tracked
from dglframer.experiments.model_folder import load_trained, row_of
from dglframer.experiments.nbody.models import Linear
from dglframer.experiments.nbody.simulation import FRAMES, cap_of, read_data_set
from dglframer.experiments.nbody.task import Examples, examples, squared_errors
from dglframer.experiments.nbody.training import build_described, predictions
from dglframer.experiments.rotations import random_rotations, turn

log = logging.getLogger(__name__)

ROTATION_SEED = 7


def evaluate(data: Path, models: Sequence[Path], device: torch.device) -> dict[str, Any]:
    """Errors of constant velocity and of each model folder, and an example of each model for a figure.

    Raises DamagedFile if a model was trained on other data.
    """
    test = read_data_set(data)["test"]
    rows: list[dict[str, Any]] = [{"model": "linear", "frames": FRAMES, "parameters": 0}]
    networks: list[nn.Module] = [Linear(FRAMES)]
    for folder in models:
        network, values = load_trained(folder, build_described)
        rows.append(row_of(folder, values, data))
        networks.append(network)
    shown = {}
    for row, network in tracked(list(zip(rows, networks, strict=True)), "models"):
        row.update(measured(network, examples(test, row["frames"]), device))
        log.info("%s: MSE of x %.4f, of v %.4f", row["model"], row["mse_x"], row["mse_v"])
        if row["frames"] == FRAMES and row["model"] not in shown:  # its first seed
            shown[row["model"]] = turned_system(network.float().cpu(), examples(test, FRAMES))
    return {"cap": cap_of(data), "test_simulations": len(test), "rows": rows, "shown": shown}


def measured(network: nn.Module, test: Examples, device: torch.device) -> dict[str, Any]:
    """MSE with its standard error over simulations in float32; Δ_EQ in float32 and float64."""
    result: dict[str, Any] = {}
    for dtype in (torch.float32, torch.float64):
        network = network.to(device, dtype)
        cast = test.to(device, dtype)
        output = predictions(network, cast)
        if dtype == torch.float32:
            errors = squared_errors(output, cast.targets).double()
            mean, deviation = errors.mean(dim=0), errors.std(dim=0) / len(cast) ** 0.5
            result["mse_x"], result["mse_v"] = mean.tolist()
            result["mse_x_error"], result["mse_v_error"] = deviation.tolist()
        unequal = equivariance_errors(network, cast, output)
        for k, name in enumerate("xv"):
            suffix = f"{name}_{str(dtype).removeprefix('torch.')}"
            result[f"delta_eq_{suffix}"] = unequal[:, k].mean().item()
            result[f"delta_eq_max_{suffix}"] = unequal[:, k].max().item()
    return result


def equivariance_errors(network: nn.Module, test: Examples, output: torch.Tensor) -> torch.Tensor:
    """Δ_EQ of Δx and Δv, [B, 2]: |R f(s) − f(R s)| / |R f(s)|, with a rotation R for each simulation s.

    If R f(s) is zero (Δv of constant velocity) it is |R f(s) − f(R s)|.
    """
    rotations = torch.from_numpy(random_rotations(len(test), ROTATION_SEED))
    rotations = rotations.to(output.device, output.dtype)
    expected = turn(rotations, output)
    difference = predictions(network, test.rotated(rotations)) - expected
    sizes = [one.square().sum(dim=(1, 3)).sqrt().double() for one in (difference, expected)]
    return torch.where(sizes[1] > 0, sizes[0] / sizes[1].clamp(min=1e-300), sizes[0])


def turned_system(network: nn.Module, test: Examples) -> dict[str, Any]:
    """A test simulation as given and rotated by 70° about z, with targets and predictions of both."""
    angle = torch.deg2rad(torch.tensor(70.0))
    c, s = angle.cos().item(), angle.sin().item()
    rotation = torch.tensor([[[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]])
    one = test.rows(slice(typical(test), typical(test) + 1))
    result: dict[str, Any] = {}
    for name, system in (("as_given", one), ("turned", one.rotated(rotation))):
        result[name] = {
            "positions": system.positions[0].tolist(),
            "charges": system.charges[0].tolist(),
            "targets": system.targets[0].tolist(),
            "predictions": predictions(network, system)[0].tolist(),
        }
    return result


def typical(test: Examples) -> int:
    """The simulation whose particles move by the median amount; the figure shows it, not a chosen one."""
    moved = test.targets[:, :, 0].square().sum(dim=(1, 2))
    return int(moved.argsort(stable=True)[len(moved) // 2])
