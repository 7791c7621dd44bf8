"""Test accuracy of trained networks against the largest tilt of the objects, and what rotations change."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dglframer.common.progress import tracked
from dglframer.experiments.model_folder import load_trained, row_of
from dglframer.experiments.rotations import random_rotations
from dglframer.experiments.shapes.clouds import Clouds, read_clouds
from dglframer.experiments.shapes.task import Examples, about_z, examples, logits, scores, tilts
from dglframer.experiments.shapes.training import build_described

log = logging.getLogger(__name__)

TILTS = (0, 45, 90, 135, 180)  # degrees, the largest of a test
TURNED = 60  # objects whose prediction is compared before and after a rotation
SEED = 7


def evaluate(data: Path, models: Sequence[Path], device: torch.device) -> dict[str, Any]:
    """Accuracies of each model folder, and an object of each class for a figure.

    Raises DamagedFile if a model was trained on other data.
    """
    parts, description = read_clouds(data)
    rows = []
    for folder in tracked(models, "models"):
        network, values = load_trained(folder, build_described)
        row = row_of(folder, values, data)
        rows.append({**row, **measured(network.to(device), parts["test"], device)})
        upright, *_, tilted = rows[-1]["accuracy"]
        log.info("%s: test accuracy %.3f, tilted %.3f", folder.name, upright, tilted)
    return {
        "source": description["source"],
        "objects": {part: len(clouds) for part, clouds in parts.items()},
        "tilts": list(TILTS),
        "rows": rows,
        "shown": shown(parts["test"], description["classes"]),
    }


def measured(network: nn.Module, test: Clouds, device: torch.device) -> dict[str, Any]:
    """Accuracy at each of TILTS in float32; what rotations change, in float64."""
    given = examples(test, device)
    accuracies = [
        scores(network, given.rotated(tilts(len(given), degrees, SEED)))[0] for degrees in TILTS
    ]
    few = examples(thinned(test), device, torch.float64)
    network = network.double()
    return {
        "accuracy": accuracies,
        "change_any": change(network, few, random_rotations(len(few), SEED)),
        "change_about_z": change(network, few, about_z(len(few), SEED)),
    }


def thinned(test: Clouds) -> Clouds:
    """At most TURNED objects, from all over the part."""
    rows = slice(None, None, -(-len(test) // TURNED))
    return Clouds(test.points[rows], test.labels[rows])


def change(network: nn.Module, of: Examples, rotations_B33: np.ndarray) -> float:
    """The largest change of a class's probability when the objects are rotated."""
    before, after = (
        logits(network, one.points).softmax(dim=1) for one in (of, of.rotated(rotations_B33))
    )
    return (after - before).abs().max().item()


def shown(test: Clouds, classes: Sequence[str]) -> dict[str, list[list[float]]]:
    """The first test object of each class that has one."""
    firsts = {int(label): row for row, label in reversed(list(enumerate(test.labels)))}
    return {
        name: test.points[firsts[label]].round(3).astype(float).tolist()
        for label, name in enumerate(classes)
        if label in firsts
    }
