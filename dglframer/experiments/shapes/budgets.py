"""The budgets of `shapes.budget`: how much each of them computes."""

from dataclasses import dataclass
from typing import get_args

from dglframer.config.experiments import Orientation, ShapesConfig, ShapesModel
from dglframer.experiments import budget

MODELS: tuple[ShapesModel, ...] = get_args(ShapesModel)
BATCH = 10  # objects of a step, as in the paper
# Without the height these do not change with rotations: rotated objects would train the same network.
INVARIANT = ("tfn", "se3_transformer")


@dataclass(frozen=True)
class Budget(budget.Budget):
    """Sizes of one run of the experiment; a step is a batch."""

    objects: tuple[int, int, int]  # of each class: train, val, test (generated ones)
    degrees: int  # of TFN and SE(3)-Transformer: l = 0 .. degrees - 1
    channels: int
    layers: int
    neighbours: int  # of a point


def steps_of(equivariant: int, plain: int) -> dict[str, int]:
    """Steps of TFN and SE(3)-Transformer, and of the others."""
    return {name: equivariant if name.removesuffix("_z") in INVARIANT else plain for name in MODELS}


BUDGETS = {
    # For a test of the workflow; too small to compare the networks.
    "smoke": Budget(
        seeds=(0,),
        steps=steps_of(40, 40),
        objects=(8, 2, 4),
        degrees=2,
        channels=8,
        layers=1,
        neighbours=8,
    ),
    "default": Budget(
        seeds=(0, 1, 2),
        steps=steps_of(1000, 1500),
        objects=(60, 10, 20),
        degrees=2,
        channels=8,
        layers=2,
        neighbours=8,
    ),
    # About as many objects as ScanObjectNN has, and the paper's neighbours and steps, for a GPU.
    "full": Budget(
        seeds=(0, 1, 2, 3, 4),
        steps=steps_of(60_000, 60_000),
        objects=(140, 14, 39),
        degrees=4,
        channels=16,
        layers=3,
        neighbours=40,
    ),
}


def budget_of(config: ShapesConfig) -> Budget:
    """The budget, with the values that the configuration sets."""
    return budget.chosen(BUDGETS, config, objects=config.objects)


def orientations(model: str) -> tuple[Orientation, ...]:
    """How the training objects of a model stand: as given, and rotated if that makes a difference."""
    return ("as_given",) if model in INVARIANT else ("as_given", "rotated")


def trainings(config: ShapesConfig) -> list[str]:
    """Folder names of the models."""
    return [
        f"{model}-{orientation}-seed-{seed}"
        for model in config.models
        for orientation in orientations(model)
        for seed in budget_of(config).seeds
    ]
