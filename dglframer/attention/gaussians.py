"""Gaussian bases of distances and cosines (Crystal[Frame]rmer; §5), and Chebyshev moments.

The 64 Gaussians of a cosine are smooth on [-1, 1], so that T_q, q < 40, span them to 2e-6: sums of
the basis over edges follow from sums of T_q, which a recurrence yields without exponentials.
"""

import functools
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from dglframer.config.networks import CrystalFramerConfig


def distance_basis(d_E: Tensor, settings: CrystalFramerConfig) -> Tensor:
    """[E, K] exp(-(d - mu_k)^2 / 2 s^2) at mu_k = (k + 1) delta, k = 0 .. K - 1 (§5.1)."""
    delta = settings.distance_max_angstrom / settings.distance_bins
    centres_K = (
        torch.arange(1, settings.distance_bins + 1, device=d_E.device, dtype=d_E.dtype) * delta
    )
    width = settings.distance_width_bins * delta
    basis_EK = gaussians(d_E, centres_K, width)
    if settings.window_sigmas is None:
        return basis_EK
    count = kept_bins(settings, settings.distance_width_bins)
    if settings.distance_bins - count <= 8:
        return basis_EK
    start_E = ((d_E - settings.window_sigmas * width) / delta - 1).trunc()
    start_E1 = start_E.clamp(0, settings.distance_bins - count).unsqueeze(-1)
    k = torch.arange(settings.distance_bins, device=d_E.device)
    return basis_EK * ((k >= start_E1) & (k < start_E1 + count))


def gaussians(x: Tensor, centres_K: Tensor, width: float) -> Tensor:
    """[..., K] of exp(-(x - mu_k)^2 / 2 width^2).

    The clamp (2e-22) keeps exp, and later products with small gradients, away from denormal
    numbers, which cost a CPU many times an ordinary product.
    """
    z = (x.unsqueeze(-1) - centres_K) / width
    return (z.square() * -0.5).clamp_(min=-50).exp_()


def angle_step(settings: CrystalFramerConfig) -> float:
    """Spacing of the cosine Gaussians, mu_k = -1 + k step (§5.2)."""
    return 2.0 / (settings.angle_bins - 1)


def chebyshev_terms(settings: CrystalFramerConfig, dtype: torch.dtype) -> int:
    """How many T_q represent the cosine Gaussians to the precision of ``dtype``.

    A Gaussian of width s has Chebyshev coefficients that fall as exp(-(q s)^2 / 2). The number is
    even: the compiled loops take two terms at a time.
    """
    min_coefficient = 4e-6 if dtype == torch.float32 else 1e-16
    width = settings.angle_width_bins * angle_step(settings)
    return 2 * math.ceil(math.sqrt(-2 * math.log(min_coefficient)) / width / 2)


@functools.lru_cache(maxsize=32)
def chebyshev_matrix(bins: int, width_bins: float, terms: int) -> np.ndarray:
    """C_KQ, float64, with exp(-(c - mu_k)^2 / 2 s^2) = sum_q C_kq T_q(c) on [-1, 1].

    The coefficients are a discrete cosine sum over Chebyshev nodes, exact beyond ``terms``.
    """
    nodes = 4 * terms
    angle_M = (np.arange(nodes) + 0.5) * np.pi / nodes
    centres_K = np.linspace(-1.0, 1.0, bins)
    width = width_bins * 2.0 / (bins - 1)
    values_KM = np.exp(-0.5 * ((np.cos(angle_M) - centres_K[:, None]) / width) ** 2)
    cosines_MQ = np.cos(angle_M[:, None] * np.arange(terms))
    matrix_KQ = values_KM @ cosines_MQ * (2.0 / nodes)
    matrix_KQ[:, 0] /= 2
    return matrix_KQ


def cosine_functions(settings: CrystalFramerConfig, dtype: torch.dtype) -> int:
    """How many functions of a cosine are summed for each axis of a frame."""
    if settings.frame == "none":
        return 0
    if settings.window_sigmas is not None:
        return settings.angle_bins
    return chebyshev_terms(settings, dtype)


def kept_bins(settings: CrystalFramerConfig, width_bins: float) -> int:
    """How many Gaussians of a basis published checkpoints keep around a value."""
    return math.ceil(2 * (settings.window_sigmas or 0.0) * width_bins + 1)


def angle_matrix(settings: CrystalFramerConfig, dtype: torch.dtype) -> np.ndarray:
    """[K, Q]: the K Gaussians as combinations of the Q functions of ``angle_functions``."""
    if settings.window_sigmas is not None:
        return np.eye(settings.angle_bins)
    terms = chebyshev_terms(settings, dtype)
    return chebyshev_matrix(settings.angle_bins, settings.angle_width_bins, terms)


def angle_functions(c: Tensor, settings: CrystalFramerConfig) -> Iterator[Tensor]:
    """Yield the functions of a cosine whose sums over edges are taken: T_q, or cut Gaussians."""
    if settings.window_sigmas is not None:
        yield from windowed_gaussians(c, settings)
        return
    older, newer, double = torch.ones_like(c), c, 2 * c
    yield older
    for _ in range(chebyshev_terms(settings, c.dtype) - 1):
        yield newer
        older, newer = newer, double * newer - older


def windowed_gaussians(c: Tensor, settings: CrystalFramerConfig) -> Iterator[Tensor]:
    """The cosine Gaussians one by one, cut as in published checkpoints (§5.2, code only)."""
    assert settings.window_sigmas is not None
    step = angle_step(settings)
    width = settings.angle_width_bins * step
    count = kept_bins(settings, settings.angle_width_bins)
    end = (
        ((c + 1 + settings.window_sigmas * width) / step + 1).clamp(max=settings.angle_bins).trunc()
    )
    end = end.clamp(min=count)
    cut = settings.angle_bins - count > 8
    for k in range(settings.angle_bins):
        value = torch.exp(-0.5 * ((c - (k * step - 1)) / width) ** 2)
        yield value * ((k < end) & (k >= end - count)) if cut else value


def even_in_third_axis(angle_3HDQ: Tensor) -> Tensor:
    """Projections of T_q(e_k . u) without the odd q of k = 3: of it only the size of the cosine counts.

    The mirror image of a right-handed frame has -e3 for e3, and T_q(-c) = (-1)^q T_q(c): what is left of the
    encoding b(c) is (b(c) + b(-c)) / 2, which is smooth where |c| is not.
    """
    third_HDQ = angle_3HDQ[2].clone()
    third_HDQ[..., 1::2] = 0
    return torch.stack([angle_3HDQ[0], angle_3HDQ[1], third_HDQ])


def head_major(functions_NQL: Tensor, heads: int) -> Tensor:
    """[H, N, 3 Q] from sums [N, Q, L] of Q functions, column = axis * H + head; without columns Q = 0."""
    if not functions_NQL.shape[2]:
        return functions_NQL.new_empty(heads, len(functions_NQL), 0)
    return functions_NQL.unflatten(2, (3, -1)).permute(3, 0, 2, 1).flatten(2)


@functools.lru_cache(maxsize=32)
def angle_matrix_on(
    settings: CrystalFramerConfig, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """``angle_matrix``, sent to the device once: a copy would make the host wait in every block."""
    with torch.inference_mode(False):  # whoever asks first, others may need it for gradients
        return torch.from_numpy(angle_matrix(settings, dtype)).to(device, dtype)
