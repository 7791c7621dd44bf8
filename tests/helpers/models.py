"""Small models with random weights."""

from pathlib import Path

from dglframer.config.networks import CrystalFramerConfig
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.networks.model_directory import Target, TrainedModel, save_model

SMALL = CrystalFramerConfig(blocks=1, width=16, heads=2, feedforward=16)


def make_model(
    folder: Path,
    seed: int = 0,
    cutoff: float = 5.0,
    unit: str = "eV",
    targets: tuple[str, ...] = ("energy",),
) -> Path:
    """Write the model directory of an energy, or of other targets."""
    network = CrystalFramer(SMALL, len(targets)).draw(seed).eval()
    for block in network.blocks:
        block.attention.sigma_scale.fill_(20.0)
    all_targets = tuple(Target(name, unit, -1.0, 2.0) for name in targets)
    save_model(TrainedModel(network, cutoff, all_targets, {"seed": seed}), folder)
    return folder
