"""The command line of dglframer with stochastic depth: `python benchmarks/stochastic_depth.py 0.1 train …`.

In every training step each block of CrystalFramer is left out, crystal by crystal, with that
probability; what stays is divided by the share that stays (Huang et al., ECCV 2016). recipe.py
trains by it. It is no part of the package, whose networks draw nothing in a forward pass: the order
of the draws is that of the steps alone, so a training that was interrupted ends at other weights.
"""

import sys

import torch
from torch import Tensor

from dglframer.attention.contract import Attention
from dglframer.cli.main import command
from dglframer.graphs.batch import Batch
from dglframer.networks.crystalframer import CrystalFramer

PROBABILITY = float(sys.argv.pop(1))
GENERATOR = torch.Generator().manual_seed(0)


def attended(network: CrystalFramer, batch: Batch, attend: Attention) -> Tensor:
    """[N, W]: as the network's own, with blocks left out where gradients are wanted."""
    x_NW = network.embedding(batch.numbers_N - 1)
    if not torch.is_grad_enabled():
        for block in network.blocks:
            x_NW = block(x_NW, attend)
        return x_NW
    crystals, stays = len(batch.atoms_B), 1 - PROBABILITY
    crystal_N = torch.repeat_interleave(torch.arange(crystals), batch.atoms_B)
    for block in network.blocks:
        scale_B = (torch.rand(crystals, generator=GENERATOR) < stays) / stays
        x_NW = x_NW + scale_B[crystal_N, None] * (block(x_NW, attend) - x_NW)
    return x_NW


if __name__ == "__main__":
    CrystalFramer.attended = attended  # type: ignore[method-assign]
    sys.exit(command())
