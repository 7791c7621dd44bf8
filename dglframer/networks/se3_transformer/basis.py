"""The angular part of the kernels: W_J^{lk}(d) = sum_M Q_J^{lk}[m, n, M] Y_JM(d / |d|).

Fuchs et al., equation 8. Q are Wigner 3j symbols and Y real spherical harmonics, both e3nn's, whose
harmonics are polynomials of the Cartesian components: exact, and with finite gradients, along the axes
too, where formulas by angles fail (``angles``).
"""

import functools
from collections.abc import Collection
from typing import Literal

import torch
from torch import Tensor

Parity = Literal["so3", "o3"]
Pair = tuple[int, int]  # degree of the input, degree of the output


def frequencies(pair: Pair, parity: Parity) -> list[int]:
    """The J of a pair of degrees: all of |k - l| to k + l, or those that keep natural parity."""
    k, l = pair
    every = range(abs(k - l), k + l + 1)
    return [J for J in every if parity == "so3" or (k + l + J) % 2 == 0]


def kernel_basis(d_E3: Tensor, pairs: Collection[Pair], parity: Parity) -> dict[Pair, Tensor]:
    """[E, (2l + 1) F, 2k + 1] for each pair (k, l): rows (m, J) of W_J for the F frequencies J."""
    from e3nn.o3 import spherical_harmonics

    highest = max(k + l for k, l in pairs)
    degrees = list(range(highest + 1))
    y_ES = spherical_harmonics(degrees, d_E3, normalize=True, normalization="integral")
    return {pair: basis_of(y_ES, pair, parity) for pair in pairs}


def basis_of(y_ES: Tensor, pair: Pair, parity: Parity) -> Tensor:
    """[E, (2l + 1) F, 2k + 1] of one pair, from the harmonics of all degrees."""
    q_SX = coupling(pair, parity, y_ES.dtype, y_ES.device)
    return (y_ES[:, : len(q_SX)] @ q_SX).unflatten(1, (-1, 2 * pair[0] + 1))


@functools.cache
def coupling(pair: Pair, parity: Parity, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[(k + l + 1)^2, (2l + 1) F (2k + 1)]: Q of one pair; row J^2 + M belongs to Y_JM."""
    from e3nn.o3 import wigner_3j

    k, l = pair
    found = frequencies(pair, parity)
    q = torch.zeros((k + l + 1) ** 2, 2 * l + 1, len(found), 2 * k + 1, dtype=dtype, device=device)
    for f, J in enumerate(found):
        q_lkJ = wigner_3j(l, k, J, dtype=dtype, device=device)
        q[J**2 : (J + 1) ** 2, :, f] = q_lkJ.permute(2, 0, 1)
    return q.flatten(1)
