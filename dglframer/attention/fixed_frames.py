"""The other frames of the paper: of the attention as a whole, of the neighbours, of the cell.

Each returns frames [N, H or 1, 3, 3] with the axes as rows. Principal axes are those of a symmetric
matrix by ascending eigenvalue; their signs make the third moment positive and the triple is
right-handed. Where two eigenvalues are equal the axes are not unique (§6).
"""

import functools

import numpy as np
import torch
from torch import Tensor

from dglframer.attention.constants import SELF_DISTANCE_SQUARED

PARALLEL = 1e-5  # 1 - |cos| below this: the same line; |cos| to the normal below: the same plane


@torch.no_grad()
def weighted_pca_frames(alpha_EH: Tensor, u_E3: Tensor, d2_E: Tensor, edge_ptr: Tensor) -> Tensor:
    """[N, H, 3, 3]: principal axes of sum alpha u u^T over the images (§6.2, the paper's)."""
    weight_EH = alpha_EH.double().masked_fill(d2_E.unsqueeze(1) <= SELF_DISTANCE_SQUARED, 0)
    u_E3 = u_E3.double()
    moments_EH33 = torch.einsum("eh,ex,ey->ehxy", weight_EH, u_E3, u_E3)
    sum_NH33 = torch.segment_reduce(moments_EH33, "sum", offsets=edge_ptr, axis=0)
    axes_NH33 = torch.linalg.eigh(sum_NH33).eigenvectors.transpose(-1, -2)
    axes_EH33 = axes_NH33.repeat_interleave(edge_ptr.diff(), 0)
    third_EHA = torch.einsum("ehax,ex->eha", axes_EH33, u_E3) ** 3 * weight_EH.unsqueeze(-1)
    third_NHA = torch.segment_reduce(third_EHA, "sum", offsets=edge_ptr, axis=0)
    return with_signs(axes_NH33, third_NHA).to(alpha_EH.dtype)


@torch.no_grad()
def pca_frames(frac_N3: Tensor, lattice_B33: Tensor, atoms_B: Tensor) -> Tensor:
    """[N, 1, 3, 3]: principal axes of the atoms of the cell as it is given (§6.4).

    One atom has the identity. The frames depend on the cell and on which images of the atoms it
    holds, as in the paper.
    """
    lattice_N33 = lattice_B33.double().repeat_interleave(atoms_B, 0)
    position_N3 = torch.einsum("nk,nkx->nx", frac_N3.double(), lattice_N33)
    mean_B3 = torch.segment_reduce(position_N3, "mean", lengths=atoms_B, axis=0)
    d_N3 = position_N3 - mean_B3.repeat_interleave(atoms_B, 0)
    spread_B33 = torch.segment_reduce(
        d_N3.unsqueeze(2) * d_N3.unsqueeze(1), "sum", lengths=atoms_B, axis=0
    )
    axes_B33 = torch.linalg.eigh(spread_B33).eigenvectors.transpose(-1, -2)
    third_NA = torch.einsum("nax,nx->na", axes_B33.repeat_interleave(atoms_B, 0), d_N3) ** 3
    third_BA = torch.segment_reduce(third_NA, "sum", lengths=atoms_B, axis=0)
    frames_B33 = with_signs(axes_B33, third_BA)
    frames_B33[atoms_B == 1] = torch.eye(3).to(frames_B33)
    return frames_B33.to(frac_N3.dtype).repeat_interleave(atoms_B, 0).unsqueeze(1)


def with_signs(axes_X33: Tensor, third_XA: Tensor) -> Tensor:
    """Axes (rows) with signs that make their third moments positive, then made right-handed."""
    signs_XA = torch.where(third_XA >= 0, 1.0, -1.0).to(axes_X33)
    signed_X33 = axes_X33 * signs_XA.unsqueeze(-1)
    return signed_X33 * torch.linalg.det(signed_X33).sign()[..., None, None]


def lattice_frames(lattice_B33: Tensor, atoms_B: Tensor) -> Tensor:
    """[N, 1, 3, 3]: three shortest lattice vectors that span space (§6.5), not orthogonal."""
    frames = [shortest_frame(lattice.tobytes()) for lattice in lattice_B33.double().cpu().numpy()]
    frames_B33 = torch.from_numpy(np.stack(frames)).to(lattice_B33)
    return frames_B33.repeat_interleave(atoms_B, 0).unsqueeze(1)


@functools.lru_cache(maxsize=100_000)
def shortest_frame(lattice: bytes) -> np.ndarray:
    """[3, 3]: the frame of one lattice (float64 rows as bytes); an overall sign makes it right-handed."""
    vectors_M3, length_M = short_vectors(np.frombuffer(lattice).reshape(3, 3))
    unit_M3 = vectors_M3 / length_M[:, None]

    def shortest(allowed_M: np.ndarray) -> np.ndarray:
        return unit_M3[np.where(allowed_M, length_M, np.inf).argmin()]

    e1 = shortest(np.full(len(unit_M3), True))
    e2 = shortest(1 - np.abs(unit_M3 @ e1) > PARALLEL)
    e2 = -e2 if e1 @ e2 < 0 else e2
    normal = np.cross(e1, e2)
    e3 = shortest(np.abs(unit_M3 @ normal) > PARALLEL * np.linalg.norm(normal))
    e3 = -e3 if e1 @ e3 < 0 else e3
    frame_33 = np.stack([e1, e2, e3])
    return -frame_33 if e3 @ normal < 0 else frame_33


def short_vectors(lattice_33: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(vectors [M, 3], lengths [M]): two images each way of the reduced cell, zero left out."""
    from pymatgen.core import Lattice

    reduced_33 = Lattice(lattice_33).get_lll_reduced_lattice().matrix
    n_M3 = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    vectors_M3 = n_M3[(n_M3 != 0).any(1)] @ reduced_33
    return vectors_M3, np.linalg.norm(vectors_M3, axis=1)
