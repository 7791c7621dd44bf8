"""The training of a model of the N-body experiment for one horizon."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dglframer.experiments.fitting import Course, Trained, Validation, fit
from dglframer.experiments.nbody.models import build
from dglframer.experiments.nbody.task import Examples, squared_errors
from dglframer.experiments.recipes import MuonWithAverage

BATCH = 128
VALIDATIONS = 40


@dataclass(frozen=True)
class Description:
    """Everything that the weights of a training depend on, except the data."""

    model: str
    frames: int
    seed: int
    steps: int
    degrees: int

    @property
    def title(self) -> str:
        """The training in messages."""
        return f"{self.model} seed {self.seed}"


def train(description: Description, train_set: Examples, val_set: Examples) -> Trained:
    """Train to the last step; the sum of both validation errors chooses.

    The loss is the mean of both squared errors, each as a share of the mean square of its target.

    Raises TrainingFailed if the validation error is not finite.
    """
    seed = description.seed
    device = train_set.positions.device
    network = build(description.model, description.degrees, seed).to(device)
    scale_2 = train_set.targets.square().mean(dim=(0, 1, 3))

    def loss_of(rows: Tensor) -> Tensor:
        batch = train_set.rows(rows)
        output = network(batch.positions, batch.velocities, batch.charges)
        return (squared_errors(output, batch.targets) / scale_2).mean()

    def validate() -> Validation:
        mse_x, mse_v = mean_errors(network, val_set)
        return (mse_x + mse_v,), {"val_mse_x": mse_x, "val_mse_v": mse_v}

    course = Course(description.title, len(train_set), BATCH, description.steps, VALIDATIONS, seed)
    return fit(network, course, loss_of, validate, MuonWithAverage)


def build_described(values: Mapping[str, Any]) -> nn.Module:
    """The network that a model.json describes."""
    return build(values["model"], values["degrees"], values["seed"])


@torch.no_grad()
def predictions(network: nn.Module, examples: Examples) -> Tensor:
    """Predicted changes, [B, 5, 2, 3], computed in batches."""
    network.eval()
    parts = (examples.rows(slice(first, first + 256)) for first in range(0, len(examples), 256))
    result = [network(part.positions, part.velocities, part.charges) for part in parts]
    network.train()
    return torch.cat(result)


def mean_errors(network: nn.Module, examples: Examples) -> tuple[float, float]:
    """MSE of Δx and of Δv."""
    errors = squared_errors(predictions(network, examples), examples.targets)
    mse_x, mse_v = errors.double().mean(dim=0)
    return mse_x.item(), mse_v.item()
