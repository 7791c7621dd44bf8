"""What the blocks share of a batch: distances, directions, and what follows from them when needed."""

import functools

import numpy as np
from torch import Tensor

from dglframer.attention.fixed_frames import lattice_frames, pca_frames
from dglframer.attention.frames import Views, max_views, single_views
from dglframer.attention.gaussians import distance_basis
from dglframer.config.networks import ModelConfig
from dglframer.graphs.batch import Batch
from dglframer.graphs.edge_ops import EdgeOps, edge_ops


class Geometry:
    """Of one batch and model: tensors on the batch's device, each made once."""

    def __init__(self, batch: Batch, model: ModelConfig):
        self.batch, self.model = batch, model
        self.ops: EdgeOps = edge_ops(batch)
        self.d2_E = batch.r_E3.square().sum(-1)
        self.u_E3 = batch.r_E3 / self.d2_E.sqrt().clamp(min=1e-6).unsqueeze(1)

    @functools.cached_property
    def basis_EK(self) -> Tensor:
        """[E, K]: the distance basis."""
        return distance_basis(self.d2_E.sqrt(), self.model)

    @functools.cached_property
    def windows(self) -> tuple[np.ndarray, np.ndarray]:
        """(first bin [E], values [E, W]): where the distance basis is not zero, for compiled loops."""
        from dglframer.attention.cpu.attention import distance_windows

        return distance_windows(self.d2_E, self.model)

    @functools.cached_property
    def fixed_views(self) -> Views:
        """The views of frames that do not depend on the attention, alike in all heads and blocks."""
        batch, model = self.batch, self.model
        if model.frame == "pca":
            frames_N133 = pca_frames(batch.frac_N3, batch.lattice_B33, batch.atoms_B)
        elif model.frame == "lattice":
            frames_N133 = lattice_frames(batch.lattice_B33, batch.atoms_B)
        elif model.frame == "max_static":
            weight_E1 = -self.d2_E.unsqueeze(1)
            views = max_views(weight_E1, self.u_E3, self.d2_E, batch.edge_ptr, tie_width(model))
            return Views(
                views.ptr,
                views.axes_P3L.repeat_interleave(model.heads, 2),
                views.share_PL.repeat_interleave(model.heads, 1),
            )
        else:  # none: no lanes
            frames_N133 = self.u_E3.new_empty(len(batch.numbers_N), 0, 3, 3)
            return single_views(frames_N133)
        return single_views(frames_N133.expand(-1, model.heads, -1, -1))

    @functools.cached_property
    def by_source(self) -> tuple[Tensor, Tensor]:
        """(ptr [N + 1], order [E]): the edges that leave each atom, for gradients on a GPU."""
        from dglframer.attention.gpu.attention import edges_by_source

        return edges_by_source(self.batch.src_E, len(self.batch.numbers_N))


def tie_width(model: ModelConfig) -> float | None:
    """Within what gap of the best a log weight ties; None to take the first of the best."""
    return model.frame_tie_width if model.frame_ties == "average" else None
