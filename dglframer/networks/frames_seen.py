"""What a trained CrystalFramer sees in one crystal: attention weights and frames of every block and head.

The numbers are those of the model's own forward pass by the reference attention, in float64.
Letters: A shown atoms, F edges of one of them, H heads, L blocks, P tied frames.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dglframer.attention.frames import WeightedAxes
from dglframer.attention.reference.attention import ReferenceAttention
from dglframer.common.errors import UserError
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import Batch, batch_graphs
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.networks.model_directory import TrainedModel
from dglframer.structures.periodic_graph import PeriodicGraph


class RecordedAttention(ReferenceAttention):
    """The reference attention, which keeps the weights and axes of each block."""

    def __init__(self, batch: Batch, settings: CrystalFramerConfig):
        super().__init__(batch, settings)
        self.blocks: list[tuple[Tensor, WeightedAxes]] = []

    def axes(self, logits_EH: Tensor, alpha_EH: Tensor) -> WeightedAxes:
        axes = super().axes(logits_EH, alpha_EH)
        self.blocks.append((alpha_EH, axes))
        return axes


@dataclass(frozen=True)
class Frame:
    """One of the frames that an atom looks along, and its share in the average over tied frames."""

    axes_33: np.ndarray  # rows e1, e2, e3
    share: float


@dataclass(frozen=True)
class AtomSeen:
    """One atom, its edges, and what each block and head makes of them."""

    atom: int  # place in the crystal, from 0
    neighbour_F: np.ndarray  # int64, the atom at the other end
    r_F3: np.ndarray  # angstrom, to the neighbour's image
    weights_LHF: np.ndarray  # attention, adds to one over the edges
    frames: list[list[list[Frame]]]  # of each block and head; empty without frames


@torch.no_grad()
def frames_seen(model: TrainedModel, graph: PeriodicGraph, atoms: Sequence[int]) -> list[AtomSeen]:
    """What the model sees from some atoms of a crystal.

    The graph has the model's cutoff. Raises UserError for an encoder without such attention.
    """
    network = model.network
    if not isinstance(network, CrystalFramer):
        raise UserError(
            "frames: this model is no CrystalFramer: its encoder chooses no frames that could be shown"
        )
    network = copy.deepcopy(network).double().eval()
    batch = batch_graphs([graph], torch.float64).without_dgl()
    attention = RecordedAttention(batch, network.settings)
    network.attended(batch, attention)
    found = []
    for atom in atoms:
        edges = slice(int(batch.edge_ptr[atom]), int(batch.edge_ptr[atom + 1]))
        found.append(
            AtomSeen(
                atom=atom,
                neighbour_F=batch.src_E[edges].numpy(),
                r_F3=batch.r_E3[edges].numpy(),
                weights_LHF=np.stack([alpha[edges].T.numpy() for alpha, _ in attention.blocks]),
                frames=[
                    frames_of(axes, atom, network.settings.heads) for _, axes in attention.blocks
                ],
            )
        )
    return found


def frames_of(axes: WeightedAxes, atom: int, heads: int) -> list[list[Frame]]:
    """The frames of an atom by head, the largest share first; [] for each head without frames."""
    rows = slice(int(axes.ptr[atom]), int(axes.ptr[atom + 1]))
    if not axes.axes_P3L.shape[2]:
        return [[] for _ in range(heads)]
    axes_P3AH = axes.axes_P3L[rows].unflatten(2, (3, heads)).numpy()
    share_PH = axes.share_PL[rows].unflatten(1, (3, heads))[:, 0].numpy()
    return [
        [
            Frame(axes_P3AH[p, :, :, head].T, float(share_PH[p, head]))
            for p in np.argsort(-share_PH[:, head], kind="stable")
            if share_PH[p, head] > 0
        ]
        for head in range(heads)
    ]


def distinct_axes(frames: Sequence[Frame], k: int) -> list[tuple[np.ndarray, float]]:
    """The distinct directions of axis ``k`` (0, 1, 2) with the sums of their shares, largest first."""
    found: list[tuple[np.ndarray, float]] = []
    for frame in frames:
        axis_3 = frame.axes_33[k]
        for place, (other_3, share) in enumerate(found):
            if np.abs(other_3 - axis_3).max() < 1e-6:
                found[place] = (other_3, share + frame.share)
                break
        else:
            found.append((axis_3, frame.share))
    return sorted(found, key=lambda one: -one[1])
