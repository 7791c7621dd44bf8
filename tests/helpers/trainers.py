"""Trainings of a small network on the tiny run, in this process."""

from collections.abc import Sequence

import torch

from dglframer.config import Config
from dglframer.config.networks import CrystalFramerConfig
from dglframer.config.training import TrainingConfig
from dglframer.data.split import read_split
from dglframer.graphs.dataset import GraphDataset
from dglframer.training.distributed import Processes
from dglframer.training.prepare import prepare
from dglframer.training.trainer import Trainer
from helpers.crystals import Run
from helpers.recipes import PAPER

CPU = torch.device("cpu")
SMALL = CrystalFramerConfig(
    blocks=1, width=16, heads=2, feedforward=16, angle_bins=16, distance_bins=16
)


def train_and_val(tiny_run: Run) -> list[GraphDataset]:
    """Its train and its val set."""
    parts = read_split(tiny_run.split, allowed=("train", "val"))
    return [GraphDataset(tiny_run.graphs, parts[name]) for name in ("train", "val")]


def config(**training) -> Config:
    """The paper's recipe, three epochs long."""
    given = PAPER | {"epochs": 3, "averaged_epochs": 1, "batch_size": 4} | training
    return Config(crystalframer=SMALL, training=TrainingConfig(**given))


def trainer(sets: Sequence[GraphDataset], seed: int = 0, **training) -> Trainer:
    """Before its first step."""
    settings = config(**training)
    prepared = prepare(settings, *sets, seed, CPU)
    return Trainer(prepared, settings.training, Processes(CPU))
