"""Rotations in float64 (one of float32 would cap what can be seen at 4e-8) and how features turn."""

import torch
from e3nn import o3
from torch import Tensor


def rotation(seed: int = 5) -> Tensor:
    """A uniformly distributed rotation, [3, 3]."""
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()
    return q * torch.linalg.det(q)


def wigner(l: int, R: Tensor) -> Tensor:
    """D_l(R), found from what it does to spherical harmonics (e3nn's own goes through float32)."""
    generator = torch.Generator().manual_seed(0)
    d_E3 = torch.randn(8 * l + 8, 3, generator=generator, dtype=torch.float64)
    before, after = (o3.spherical_harmonics(l, d, True) for d in (d_E3, d_E3 @ R.T))
    return torch.linalg.lstsq(before, after).solution.T


def turned(features: dict[int, Tensor], R: Tensor) -> dict[int, Tensor]:
    """Features by degree, [N, C, 2l + 1], of the turned nodes."""
    return {l: x @ wigner(l, R).to(x).T for l, x in features.items()}
