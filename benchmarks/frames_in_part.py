"""The command line with frames in a part of CrystalFramer: `frames_in_part.py 1 8 drawn train …`.

Only the last blocks, so many of them, and only the first heads of each see cosines with frames; their
angle projections are drawn, or begin at zero (`zero` for `drawn`). Every other angle projection is zero
and stays zero: the blocks before are computed without frames, and whoever loads the model gets the same
predictions. recipe.py trains by it. It is no part of the package.
"""

import sys

import torch
from torch import Tensor

from dglframer.attention import attention_over
from dglframer.attention.contract import Attention
from dglframer.cli.main import command
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import Batch
from dglframer.networks.crystalframer import CrystalFramer

BLOCKS, HEADS, FROM_ZERO = int(sys.argv.pop(1)), int(sys.argv.pop(1)), sys.argv.pop(1) == "zero"
WITHOUT = {"frame": "none"}
made, drawn = CrystalFramer.__init__, CrystalFramer.draw


def init(network: CrystalFramer, settings: CrystalFramerConfig, n_targets: int = 1) -> None:
    """As the network's own, with blocks before the last ones that skip their angle projections."""
    made(network, settings, n_targets)
    for block in network.blocks[:-BLOCKS]:
        block.attention.settings = settings.model_copy(update=WITHOUT)
    for block in network.blocks[-BLOCKS:]:
        block.attention.angle_3HDK.register_hook(first_heads)


def first_heads(gradient_3HDK: Tensor) -> Tensor:
    """The gradient of the heads that see frames; zero for the others, which Muon and decay leave at zero."""
    return torch.cat([gradient_3HDK[:, :HEADS], torch.zeros_like(gradient_3HDK[:, HEADS:])], dim=1)


def draw(network: CrystalFramer, seed: int) -> CrystalFramer:
    """As the network's own, with zeros where no frame is seen."""
    drawn(network, seed)
    with torch.no_grad():
        for block in network.blocks[:-BLOCKS]:
            block.attention.angle_3HDK.zero_()
        for block in network.blocks[-BLOCKS:]:
            block.attention.angle_3HDK[:, 0 if FROM_ZERO else HEADS :] = 0
    return network


def attended(network: CrystalFramer, batch: Batch, attend: Attention) -> Tensor:
    """[N, W]: as the network's own, with an attention without frames for the blocks before the last ones."""
    x_NW = network.embedding(batch.numbers_N - 1)
    before, last = network.blocks[:-BLOCKS], network.blocks[-BLOCKS:]
    if before:
        plain = attention_over(batch, network.settings.model_copy(update=WITHOUT))
    for block in before:
        x_NW = block(x_NW, plain) + 0 * block.attention.angle_3HDK.sum()  # a gradient, of zero
    for block in last:
        x_NW = block(x_NW, attend)
    return x_NW


if __name__ == "__main__":
    CrystalFramer.__init__ = init  # type: ignore[method-assign]
    CrystalFramer.draw = draw  # type: ignore[method-assign]
    CrystalFramer.attended = attended  # type: ignore[method-assign]
    sys.exit(command())
