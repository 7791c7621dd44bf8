"""Spherical harmonics by angles: the recursion published with the SE(3)-Transformer, for reference.

Nothing in the package uses it. It recovers sin(theta) from cos(theta) = x, which loses half of
the digits near the polar axis, and phi has no gradient on it: edges along a lattice axis, the rule
in cubic crystals, would be wrong or NaN. The test in tests/networks/test_se3_harmonics.py shows both.
"""

import math

import torch
from torch import Tensor


def harmonics_by_angles(highest: int, d_E3: Tensor) -> Tensor:
    """[E, (highest + 1)^2]: Y_JM, M rising from -J, of all J up to ``highest``; those of e3nn.

    Associated Legendre polynomials P_J^m(cos theta) rise from the boundary value
    P_m^m = (-1)^m (2m - 1)!! sin^m theta by P_J^m = ((2J - 1) x P_{J-1}^m - (J + m - 1) P_{J-2}^m)
    / (J - m); each is computed once. The polar axis is y, as in e3nn.
    """
    x_E, y_E, z_E = (d_E3 / d_E3.norm(dim=-1, keepdim=True)).unbind(-1)
    sine_E = (1 - y_E**2).clamp(min=0).sqrt()
    phi_E = torch.atan2(x_E, z_E)
    legendre: dict[tuple[int, int], Tensor] = {}
    for m in range(highest + 1):
        odd = float(math.prod(range(1, 2 * m, 2)))
        legendre[m, m] = (-1) ** m * odd * sine_E**m
        for J in range(m + 1, highest + 1):
            term_E = (2 * J - 1) * y_E * legendre[J - 1, m]
            if m + 1 < J:
                term_E = term_E - (J + m - 1) * legendre[J - 2, m]
            legendre[J, m] = term_E / (J - m)
    columns = []
    for J in range(highest + 1):
        for M in range(-J, J + 1):
            m = abs(M)
            factor = (2 * J + 1) / (4 * math.pi) * math.factorial(J - m) / math.factorial(J + m)
            angle_E = torch.cos(m * phi_E) if M >= 0 else torch.sin(m * phi_E)
            scale = (-1) ** m * math.sqrt(factor * (2 if m else 1))
            columns.append(scale * legendre[J, m] * angle_E)
    return torch.stack(columns, 1)
