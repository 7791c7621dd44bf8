"""The literal formulation: CrystalFramer as its formulas stand, a baseline for `speed.py` alone.

It stands in for the published CUDA code, which does not run here, and does what that code does:
every image of a box of at least +-2 cells around every ordered pair of atoms; 64 distance and
3 x 64 cosine Gaussians of every image, in every head and block; their weighted sum and its
projection per pair; softmax over the atoms j; frames by argmax over all images (no rule for ties).
Parameters are those of ``CrystalFramer`` (the state_dict fits). Like the published code it computes
the Gaussians again in the backward pass instead of keeping them, and takes pairs in chunks that
stay in the cache, so that this baseline loses no time to memory. Two differences: the published
code evaluates Gaussians only within 4 widths of their argument, in float32 CUDA kernels.

Shapes: N atoms, P = N^2 ordered pairs (i, j), M images, H heads, D features of a head, K bins.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dglframer.attention.constants import ALONG_AXIS, SELF_DISTANCE_SQUARED
from dglframer.attention.gaussians import angle_step, gaussians
from dglframer.networks.crystalframer import CrystalFramer, InfiniteAttention
from dglframer.structures.crystal import Crystal
from dglframer.structures.neighbors import wrapped

CHUNK_VALUES = 2**21  # Gaussians of a chunk of pairs: 8 MiB
LEAST_BOX = 2  # images in each direction, at least
BOX_SIGMAS = 3.5  # the box covers this many r0, as the published rule does at sigma = r0


class Images:
    """r_ij(n) of every ordered pair and every image of the box of one crystal."""

    def __init__(self, crystal: Crystal, r0: float, dtype: torch.dtype = torch.float32):
        lattice_33, frac_N3 = crystal.lattice_33, wrapped(crystal.coords_N3)
        heights = np.linalg.norm(np.linalg.inv(lattice_33), axis=0)
        reach = np.ceil((BOX_SIGMAS * r0 + 0.01) * heights).astype(int)
        ranges = [np.arange(-n, n + 1) for n in np.maximum(LEAST_BOX, reach)]
        images_M3 = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3)
        pairs_NN3 = frac_N3[None] - frac_N3[:, None]
        r_PM3 = (pairs_NN3.reshape(-1, 1, 3) + images_M3) @ lattice_33
        r = torch.from_numpy(r_PM3).to(dtype)
        self.numbers_N = torch.from_numpy(crystal.numbers_N.astype(np.int64))
        self.d2_PM = r.square().sum(-1)
        self.d_PM = self.d2_PM.sqrt()
        self.u_PM3 = r / self.d_PM.clamp(min=1e-6).unsqueeze(-1)
        self.self_PM = self.d2_PM <= SELF_DISTANCE_SQUARED


class LiteralFramer(CrystalFramer):
    """CrystalFramer with the literal attention; crystals are computed one after the other."""

    def predict(self, crystals: list[Images]) -> Tensor:
        """[B, T] predictions."""
        pooled = []
        for images in crystals:
            x_NW = self.embedding(images.numbers_N - 1)
            for block in self.blocks:
                x_NW = x_NW + literal_attention(block.attention, x_NW, images)
                x_NW = x_NW + block.contract(torch.relu(block.expand(x_NW)))
            pooled.append(x_NW.mean(0))
        return self.head(torch.stack(pooled))


def literal_attention(attention: InfiniteAttention, x_NW: Tensor, images: Images) -> Tensor:
    """[N, W]: sum_j softmax_j(s_ij + z_ij) (v_j + beta_ij), projected."""
    model, n_atoms = attention.settings, len(x_NW)
    q_NHD, k_NHD, v_NHD = (
        layer(x_NW).unflatten(1, (model.heads, -1))
        for layer in (attention.query, attention.key, attention.value)
    )
    s_PH = torch.einsum("ihd,jhd->ijh", q_NHD, k_NHD).flatten(0, 1) / math.sqrt(q_NHD.shape[2])
    decay_PH = attention.decay(q_NHD).repeat_interleave(n_atoms, 0)
    exponent_PHM = -decay_PH.unsqueeze(2) * images.d2_PM.unsqueeze(1)
    z_PH = exponent_PHM.logsumexp(2)
    weights_PHM = torch.exp(exponent_PHM - z_PH.unsqueeze(2))
    alpha_NNH = (s_PH + z_PH).unflatten(0, (n_atoms, n_atoms)).softmax(1)
    with torch.no_grad():
        frames_NH33 = argmax_frames(s_PH.unsqueeze(2) + exponent_PHM, images, n_atoms)
    frames_PH33 = frames_NH33.repeat_interleave(n_atoms, 0)

    size = max(1, CHUNK_VALUES // (model.heads * images.d2_PM.shape[1] * model.angle_bins))
    parts = []
    for first in range(0, len(s_PH), size):
        pairs = slice(first, first + size)
        inputs = images.d_PM[pairs], images.u_PM3[pairs], images.self_PM[pairs], frames_PH33[pairs]
        parts.append(
            checkpoint(position_encoding, attention, weights_PHM[pairs], *inputs,
                       use_reentrant=False)
        )  # fmt: skip
    beta_NNHD = torch.cat(parts).unflatten(0, (n_atoms, n_atoms))
    y_NHD = torch.einsum("ijh,ijhd->ihd", alpha_NNH, v_NHD.unsqueeze(0) + beta_NNHD)
    return attention.output(y_NHD.flatten(1))


def position_encoding(
    attention: InfiniteAttention,
    weights_PHM: Tensor,
    d_PM: Tensor,
    u_PM3: Tensor,
    self_PM: Tensor,
    frames_PH33: Tensor,
) -> Tensor:
    """[P, H, D]: beta of some pairs; every Gaussian of every image, for each head."""
    model = attention.settings
    delta = model.distance_max_angstrom / model.distance_bins
    centres_K = torch.arange(1, model.distance_bins + 1, dtype=d_PM.dtype) * delta
    d_PHM = d_PM.unsqueeze(1).expand(-1, model.heads, -1)
    basis_PHMK = gaussians(d_PHM, centres_K, model.distance_width_bins * delta)
    mean_PHK = (weights_PHM.unsqueeze(2) @ basis_PHMK).squeeze(2)
    beta_PHD = model.distance_coefficient * projected(mean_PHK, attention.distance_HDK)
    centres_K = torch.linspace(-1, 1, model.angle_bins, dtype=d_PM.dtype)
    width = model.angle_width_bins * angle_step(model)
    others_PHM = weights_PHM.masked_fill(self_PM.unsqueeze(1), 0.0)
    for axis in range(3):
        cosines_PHM = (frames_PH33[:, :, axis] @ u_PM3.transpose(1, 2)).clamp(-1, 1)
        basis_PHMK = gaussians(cosines_PHM, centres_K, width)
        mean_PHK = (others_PHM.unsqueeze(2) @ basis_PHMK).squeeze(2)
        angle_PHD = projected(mean_PHK, attention.angle_3HDK[axis])
        beta_PHD = beta_PHD + model.angle_coefficient * angle_PHD
    return beta_PHD


def projected(mean_PHK: Tensor, matrix_HDK: Tensor) -> Tensor:
    """[P, H, D]: each pair's mean basis, projected."""
    return torch.einsum("phk,hdk->phd", mean_PHK, matrix_HDK)


def argmax_frames(logits_PHM: Tensor, images: Images, n_atoms: int) -> Tensor:
    """[N, H, 3, 3]: first axis along the heaviest image, second by the adjusted weight."""
    logits_PHM = logits_PHM.masked_fill(images.self_PM.unsqueeze(1), -torch.inf)
    logits_NHE = logits_PHM.unflatten(0, (n_atoms, n_atoms)).transpose(1, 2).flatten(2)
    u_NE3 = images.u_PM3.unflatten(0, (n_atoms, n_atoms)).flatten(1, 2)
    e1_NH3 = picked(u_NE3, logits_NHE.argmax(2))
    cosines_NHE = (e1_NH3 @ u_NE3.transpose(1, 2)).abs()
    score_NHE = logits_NHE + torch.log((1 - cosines_NHE).clamp(min=1e-5))
    second_NH = score_NHE.masked_fill(cosines_NHE >= ALONG_AXIS, -torch.inf).argmax(2)
    u2_NH3 = picked(u_NE3, second_NH)
    e2_NH3 = u2_NH3 - (e1_NH3 * u2_NH3).sum(-1, keepdim=True) * e1_NH3
    e2_NH3 = e2_NH3 / e2_NH3.norm(dim=-1, keepdim=True)
    return torch.stack([e1_NH3, e2_NH3, torch.linalg.cross(e1_NH3, e2_NH3)], 2)


def picked(u_NE3: Tensor, index_NH: Tensor) -> Tensor:
    """[N, H, 3]: the chosen directions of each atom and head."""
    return u_NE3.gather(1, index_NH.unsqueeze(2).expand(-1, -1, 3))
