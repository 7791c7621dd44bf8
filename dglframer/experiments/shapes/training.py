"""The training of a network on objects as they stand, or rotated anew each time they are shown."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn

from dglframer.config.experiments import Orientation
from dglframer.experiments.fitting import Course, Trained, Validation, fit
from dglframer.experiments.recipes import Adam
from dglframer.experiments.rotations import random_rotations
from dglframer.experiments.shapes.budgets import BATCH
from dglframer.experiments.shapes.models import SetClassifier, Size, build
from dglframer.experiments.shapes.task import Examples, scores

VALIDATIONS = 10  # maximum
VAL_SEED = 11  # of the rotations of the validation objects
STATISTICS_OBJECTS, STATISTICS_SEED = 300, 12  # of a batch norm; the seed draws and rotates them


@dataclass(frozen=True)
class Description:
    """Everything that the weights of a training depend on, except the data."""

    model: str
    orientation: Orientation
    seed: int
    steps: int
    size: Size

    @property
    def title(self) -> str:
        """The training in messages."""
        return f"{self.model}, {self.orientation}, seed {self.seed}"

    def plain(self) -> dict[str, Any]:
        """As values of JSON."""
        return asdict(self)


def train(description: Description, train_set: Examples, val_set: Examples) -> Trained:
    """Train to the last step, by cross-entropy; the best validation accuracy chooses, then cross-entropy.

    Training and validation objects are rotated if the description says so. Raises TrainingFailed if the
    validation is not finite.
    """
    seed, rotated = description.seed, description.orientation == "rotated"
    device = train_set.points.device
    network = build(description.model, description.size, seed).to(device)
    rng = np.random.default_rng(seed)
    if rotated:
        val_set = val_set.rotated(random_rotations(len(val_set), VAL_SEED))

    def loss_of(rows: Tensor) -> Tensor:
        batch = Examples(train_set.points[rows], train_set.labels[rows])
        if rotated:
            batch = batch.rotated(random_rotations(len(batch), rng))
        return functional.cross_entropy(network(batch.points), batch.labels)

    def validate() -> Validation:
        if isinstance(network, SetClassifier):
            update_bn(statistics_batches(train_set, rotated), network)
        accuracy, loss = scores(network, val_set)
        return (1 - accuracy, loss), {"val_accuracy": accuracy, "val_loss": loss}

    steps = description.steps
    course = Course(description.title, len(train_set), BATCH, steps, VALIDATIONS, seed)
    return fit(network, course, loss_of, validate, Adam)


def statistics_batches(train_set: Examples, rotated: bool) -> list[Tensor]:
    """Points [B, P, 3] of some training objects, the same in every call.

    The pooled features of a network of sets differ by little between objects and drift far between
    steps: the running averages of its batch norm lag behind, and the validation loss rose to 25 while
    the network fitted its training objects.
    """
    rng = np.random.default_rng(STATISTICS_SEED)
    rows = torch.from_numpy(rng.permutation(len(train_set))[:STATISTICS_OBJECTS])
    drawn = Examples(train_set.points[rows], train_set.labels[rows])
    if rotated:
        drawn = drawn.rotated(random_rotations(len(drawn), rng))
    return list(drawn.points.split(BATCH))


def build_described(values: Mapping[str, Any]) -> nn.Module:
    """The network that a model.json describes."""
    return build(values["model"], Size(**values["size"]), values["seed"])
