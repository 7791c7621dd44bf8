"""What every backend of the attention is: made once for a batch, called once for each block.

Shapes: N atoms, E edges (j, n) -> i sorted by i, H heads, D features of a head, K Gaussians of a basis.
A backend is a class of its own folder; none imports another. ``attention_over`` chooses.
"""

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from dglframer.attention.fixed_frames import lattice_frames, pca_frames, weighted_pca_frames
from dglframer.attention.frames import WeightedAxes, max_axes, same_in_all_heads, single_frames
from dglframer.attention.gaussians import angle_matrix_on
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import Batch


class AttentionSums(NamedTuple):
    """Sums over the edges of each atom, weighted by the attention alpha (§3 and §5)."""

    values_NHD: Tensor  # sum of alpha v_j
    distances_HNK: Tensor  # sum of alpha b(|r|)
    cosines_HNQ: (
        Tensor  # sum of alpha f(e_k . r / |r|), k = 1, 2, 3 side by side; Q = 0 without frames
    )


class Attention:
    """Attention over the edges of one batch."""

    def __init__(self, batch: Batch, settings: CrystalFramerConfig):
        self.batch, self.settings = batch, settings
        self.d2_E = batch.r_E3.square().sum(-1)
        self.u_E3 = batch.r_E3 / self.d2_E.sqrt().clamp(min=1e-6).unsqueeze(1)

    @classmethod
    def serves(cls, batch: Batch, settings: CrystalFramerConfig) -> bool:
        """Whether this backend can compute such a batch with such settings, here."""
        raise NotImplementedError

    def sums(self, q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, decay_NH: Tensor) -> AttentionSums:
        """The sums of one block, in the type of the inputs: float32 or float64."""
        raise NotImplementedError

    def __call__(
        self, q_NHD: Tensor, k_NHD: Tensor, v_NHD: Tensor, decay_NH: Tensor
    ) -> AttentionSums:
        """The sums of one block. ``decay_NH`` is 1 / 2 sigma^2; bfloat16 is computed in float32."""
        if q_NHD.dtype != torch.bfloat16:
            return self.sums(q_NHD, k_NHD, v_NHD, decay_NH)
        with torch.autocast(q_NHD.device.type, enabled=False):
            return self.sums(q_NHD.float(), k_NHD.float(), v_NHD.float(), decay_NH.float())

    def other_axes(self, alpha_EH: Tensor) -> WeightedAxes:
        """The axes of one block for every frame method but ``max``; ``alpha_EH`` without gradient."""
        if self.settings.frame == "weighted_pca":
            frames = weighted_pca_frames(alpha_EH, self.u_E3, self.d2_E, self.batch.edge_ptr)
            return single_frames(frames)
        return self.fixed_axes

    @property
    def cosine_matrix_KQ(self) -> Tensor:
        """[K, Q]: the Gaussians of a cosine as combinations of the functions f."""
        return angle_matrix_on(self.settings, self.u_E3.dtype, self.u_E3.device)

    @functools.cached_property
    def fixed_axes(self) -> WeightedAxes:
        """The axes of frames that do not depend on the attention, alike in all heads and blocks."""
        batch, heads = self.batch, self.settings.heads
        match self.settings.frame:
            case "pca":
                frames_N133 = pca_frames(batch.coords_N3, batch.lattice_B33, batch.atoms_B)
            case "lattice":
                frames_N133 = lattice_frames(batch.lattice_B33, batch.atoms_B)
            case "max_static":
                weight_E1 = -self.d2_E.unsqueeze(1)
                width = tie_width(self.settings)
                axes = max_axes(weight_E1, self.u_E3, self.d2_E, batch.edge_ptr, width)
                return same_in_all_heads(axes, heads)
            case _:  # none
                return single_frames(self.u_E3.new_empty(len(batch.numbers_N), 0, 3, 3))
        return single_frames(frames_N133.expand(-1, heads, -1, -1))


def tie_width(settings: CrystalFramerConfig) -> float | None:
    """Within what gap of the best a log weight ties; None to take the first of the best."""
    return settings.frame_tie_width if settings.frame_ties == "average" else None
