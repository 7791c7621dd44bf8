"""Small models with random weights."""

from pathlib import Path

from dglframer.config.networks import CrystalFramerConfig
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.networks.model_directory import Target, TrainedModel, save_model

SMALL = CrystalFramerConfig(blocks=1, width=16, heads=2, feedforward=16)


def make_model(folder: Path, seed: int = 0, cutoff: float = 5.0, unit: str = "eV") -> Path:
    """Write the model directory of an energy."""
    network = CrystalFramer(SMALL).draw(seed).eval()
    for block in network.blocks:
        block.attention.sigma_scale.fill_(20.0)
    target = Target("energy", unit, -1.0, 2.0)
    save_model(TrainedModel(network, cutoff, (target,), {"seed": seed}), folder)
    return folder
