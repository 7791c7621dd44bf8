"""Numbers that chemistry has for every element: its place in the periodic table, electronegativity, radius.

Gradient boosting learns from them, and networks can begin with them.
"""

import numpy as np

from dglframer.common.elements import MAX_Z

# Pauling's scale as in the CRC Handbook; 0 where it has no value.
ELECTRONEGATIVITY = """
2.20 0.00
0.98 1.57 2.04 2.55 3.04 3.44 3.98 0.00
0.93 1.31 1.61 1.90 2.19 2.58 3.16 0.00
0.82 1.00 1.36 1.54 1.63 1.66 1.55 1.83 1.88 1.91 1.90 1.65 1.81 2.01 2.18 2.55 2.96 3.00
0.82 0.95 1.22 1.33 1.60 2.16 1.90 2.20 2.28 2.20 1.93 1.69 1.78 1.96 2.05 2.10 2.66 2.60
0.79 0.89 1.10 1.12 1.13 1.14 1.13 1.17 1.20 1.20 1.10 1.22 1.23 1.24 1.25 1.10
1.27 1.30 1.50 2.36 1.90 2.20 2.20 2.28 2.54 2.00 1.62 2.33 2.02 2.00 2.20 2.20
0.70 0.90 1.10 1.30 1.50 1.38 1.36 1.28 1.30 1.30 1.30 1.30
"""
# Angstrom, Cordero et al., Dalton Trans. 2008, 2832; beyond curium the mean of the actinides before.
COVALENT_RADIUS = """
0.31 0.28
1.28 0.96 0.84 0.76 0.71 0.66 0.57 0.58
1.66 1.41 1.21 1.11 1.07 1.05 1.02 1.06
2.03 1.76 1.70 1.60 1.53 1.39 1.39 1.32 1.26 1.24 1.32 1.22 1.22 1.20 1.19 1.20 1.20 1.16
2.20 1.95 1.90 1.75 1.64 1.54 1.47 1.46 1.42 1.39 1.45 1.44 1.42 1.39 1.39 1.38 1.39 1.40
2.44 2.15 2.07 2.04 2.03 2.01 1.99 1.98 1.98 1.96 1.94 1.92 1.92 1.89 1.90 1.87
1.87 1.75 1.70 1.62 1.51 1.44 1.41 1.36 1.36 1.32 1.45 1.46 1.48 1.40 1.50 1.50
2.60 2.21 2.15 2.06 2.00 1.96 1.90 1.87 1.80 1.69 1.80 1.80
"""
NOBLE_GASES = np.array([0, 2, 10, 18, 36, 54, 86, 118])


def element_properties() -> dict[str, np.ndarray]:
    """[98] of each property; electrons beyond the noble gas before, filled in Madelung's order."""
    z = np.arange(1, MAX_Z + 1)
    period = np.searchsorted(NOBLE_GASES, z)
    electrons = z - NOBLE_GASES[period - 1]
    s = np.minimum(electrons, 2)
    f = np.where(period >= 6, np.clip(electrons - 2, 0, 14), 0)
    d = np.where(period >= 4, np.clip(electrons - s - f, 0, 10), 0)
    p = electrons - s - f - d
    to_next = NOBLE_GASES[period] - z  # elements up to the end of the period
    group = np.where(electrons <= 2, electrons, np.maximum(18 - to_next, 3))
    group[1] = 18  # helium
    return {
        "atomic number": z,
        "period": period,
        "group": group,
        "electronegativity": np.array(ELECTRONEGATIVITY.split(), float),
        "covalent radius": np.array(COVALENT_RADIUS.split(), float),
        "s electrons": s,
        "p electrons": p,
        "d electrons": d,
        "f electrons": f,
    }


PROPERTIES = element_properties()


def property_table() -> np.ndarray:
    """[98, 34] of each element: its properties with mean 0 and deviation 1, its period, its group.

    Period and group are a column for each of their values, 1 in one of them and 0 in the others.
    """
    columns = [
        (values_98 - values_98.mean()) / values_98.std() for values_98 in PROPERTIES.values()
    ]
    columns += [PROPERTIES["period"] == period for period in range(1, 8)]
    columns += [PROPERTIES["group"] == group for group in range(1, 19)]
    return np.stack(columns, axis=1).astype(float)
