"""Numbers that describe a crystal without its bonds: what the gradient boosting learns from.

- the fraction of each of the 98 elements;
- over the atoms, the mean, standard deviation, minimum and maximum of each property of ``PROPERTIES``;
- the number of elements, and of atoms in the cell;
- the volume per atom (Å³), and the share of it that spheres of the covalent radii fill.
"""

import numpy as np

from dglframer.common.composition import element_fractions
from dglframer.common.element_properties import PROPERTIES

STATISTICS = ("mean", "deviation", "min", "max")


def crystal_features(numbers: list[np.ndarray], lattice_G33: np.ndarray) -> np.ndarray:
    """[G, 138] features in the order of the module's list.

    A molecule (a lattice of zeros) has no volume: NaN.
    """
    fractions_G98 = element_fractions(numbers)
    atoms_G = np.array([len(numbers_N) for numbers_N in numbers])
    has_G98 = fractions_G98 > 0
    columns = []
    for values_98 in PROPERTIES.values():
        mean_G = fractions_G98 @ values_98
        variance_G = fractions_G98 @ values_98**2 - mean_G**2
        columns += [
            mean_G,
            np.sqrt(np.maximum(variance_G, 0)),
            np.where(has_G98, values_98, np.inf).min(1),
            np.where(has_G98, values_98, -np.inf).max(1),
        ]
    volume_G = np.abs(np.linalg.det(lattice_G33.astype(float))) / atoms_G
    volume_G[volume_G == 0] = np.nan
    spheres_G = fractions_G98 @ (4 / 3 * np.pi * PROPERTIES["covalent radius"] ** 3)
    columns += [has_G98.sum(1), atoms_G, volume_G, spheres_G / volume_G]
    return np.column_stack([fractions_G98, *columns])
