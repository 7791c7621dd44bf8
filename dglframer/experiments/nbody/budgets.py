"""The budgets of `nbody.budget`: how much each of them computes."""

from dataclasses import dataclass

from dglframer.config.experiments import NbodyConfig
from dglframer.experiments import budget
from dglframer.experiments.nbody.simulation import FRAMES


@dataclass(frozen=True)
class Budget(budget.Budget):
    """Sizes of one run of the experiment, per data set; a step is a batch of 128 simulations."""

    simulations: tuple[int, int, int]  # train, val, test
    calibration: int  # fresh simulations that check the Linear row
    rotations: int  # re-simulations of each test state, for the floor
    degrees: int  # of TFN and SE(3)-Transformer: l = 0 .. degrees - 1
    horizons: tuple[int, ...]  # in frames, besides 10; an SE(3)-Transformer for each


BUDGETS = {
    # For a test of the workflow; too small to compare the models.
    "smoke": Budget(
        simulations=(1000, 250, 250),
        calibration=2000,
        rotations=4,
        seeds=(0,),
        degrees=2,
        steps={
            "deepset": 100,
            "tfn": 60,
            "set_transformer": 100,
            "se3_transformer": 60,
            "egnn": 100,
        },
        horizons=(2,),
    ),
    # The plain models overfit after a few hundred steps.
    "default": Budget(
        simulations=(5000, 1000, 1000),
        calibration=40_000,
        rotations=8,
        seeds=(0, 1, 2),
        degrees=2,
        steps={
            "deepset": 400,
            "tfn": 1500,
            "set_transformer": 500,
            "se3_transformer": 1500,
            "egnn": 1500,
        },
        horizons=(2, 5),
    ),
    # The steps and degrees of the paper, for a GPU.
    "full": Budget(
        simulations=(5000, 1000, 1000),
        calibration=40_000,
        rotations=16,
        seeds=(0, 1, 2),
        degrees=4,
        steps=dict.fromkeys(
            ("deepset", "tfn", "set_transformer", "se3_transformer", "egnn"), 100_000
        ),
        horizons=(1, 2, 5),
    ),
}


def budget_of(config: NbodyConfig) -> Budget:
    """The budget, with the values that the configuration sets."""
    return budget.chosen(BUDGETS, config, simulations=config.simulations)


def trainings(config: NbodyConfig) -> list[str]:
    """Folder names of the models of a data set: the rows of the table, then the other horizons."""
    sizes = budget_of(config)
    rows = [(model, FRAMES, seed) for model in config.models for seed in sizes.seeds]
    if "se3_transformer" in config.models:
        rows += [("se3_transformer", frames, sizes.seeds[0]) for frames in sizes.horizons]
    return [f"{model}-{frames}-frames-seed-{seed}" for model, frames, seed in rows]
