"""Spherical harmonics and couplings: conventions, and why the formulas by angles are not used."""

import math

import pytest
import torch
from e3nn import o3
from helpers.rotations import rotation, wigner

from dglframer.networks.se3_transformer.angles import harmonics_by_angles
from dglframer.networks.se3_transformer.basis import frequencies, kernel_basis

HIGHEST = 8


def directions(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    d_E3 = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return d_E3 / d_E3.norm(dim=-1, keepdim=True)


def harmonics(d_E3: torch.Tensor, highest: int = HIGHEST) -> torch.Tensor:
    degrees = list(range(highest + 1))
    return o3.spherical_harmonics(degrees, d_E3, normalize=True, normalization="integral")


def near_the_pole(angle: float) -> torch.Tensor:
    return torch.tensor([[math.sin(angle), math.cos(angle), 0.0]], dtype=torch.float64)


def test_recursion_over_legendre_polynomials_gives_the_same():
    d_E3 = directions(1000)
    assert (harmonics_by_angles(HIGHEST, d_E3) - harmonics(d_E3)).abs().max() < 1e-12


def test_harmonics_are_orthonormal_on_the_sphere():
    y_E = harmonics(directions(20))
    for J in range(HIGHEST + 1):
        sums = y_E[:, J**2 : (J + 1) ** 2].square().sum(1)
        assert torch.allclose(sums, torch.full_like(sums, (2 * J + 1) / (4 * math.pi)))


def test_near_the_polar_axis_angles_lose_half_of_the_digits():
    d_E3 = near_the_pole(1e-4)
    exact = harmonics(d_E3)
    by_angles = (harmonics_by_angles(HIGHEST, d_E3.float()) - exact).abs().max()
    by_polynomials = (harmonics(d_E3.float()) - exact).abs().max()
    assert by_angles > 1e-4
    assert by_polynomials < 2e-6


@pytest.mark.parametrize("axis", range(3))
def test_along_an_axis_the_gradient_is_finite_but_not_by_angles(axis):
    d_E3 = torch.eye(3, dtype=torch.float64)[axis : axis + 1].requires_grad_()
    [gradient] = torch.autograd.grad(harmonics(d_E3).square().sum(), d_E3)
    assert gradient.isfinite().all()
    weights = torch.arange(1.0, (HIGHEST + 1) ** 2 + 1, dtype=torch.float64)
    [by_angles] = torch.autograd.grad((harmonics_by_angles(HIGHEST, d_E3) * weights).sum(), d_E3)
    assert by_angles.isfinite().all() == (axis != 1)  # y is the polar axis


@pytest.mark.parametrize("k", range(4))
@pytest.mark.parametrize("l", range(4))
def test_kernel_turns_with_the_edge(k, l):
    """W(R d) = D_l W(d) D_k^T for every frequency."""
    R = rotation()
    d_E3 = directions(5)
    F = len(frequencies((k, l), "so3"))

    def kernel(d_E3):  # [E, 2l + 1, F, 2k + 1]
        return kernel_basis(d_E3, [(k, l)], "so3")[k, l].unflatten(1, (2 * l + 1, F))

    turned = torch.einsum("lm,emfn,kn->elfk", wigner(l, R), kernel(d_E3), wigner(k, R))
    assert (kernel(d_E3 @ R.T) - turned).abs().max() < 1e-12
    assert kernel(d_E3).abs().amax((0, 1, 3)).min() > 0.01


def test_natural_parity_keeps_thirty_of_forty_four_kernels():
    pairs = [(k, l) for k in range(4) for l in range(4)]
    assert sum(len(frequencies(pair, "so3")) for pair in pairs) == 44
    assert sum(len(frequencies(pair, "o3")) for pair in pairs) == 30
