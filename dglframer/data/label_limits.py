"""Physical ranges of well-known properties, and tolerances between two labels of one structure.

The ranges are wide: a number outside is a failed calculation or has a wrong unit. They apply to targets
with these names and units; a test holds docs/guide/splits.md to this table.
"""

import math
from typing import NamedTuple

from dglframer.config.data import CleaningConfig


class Limits(NamedTuple):
    """The range with both ends, and the tolerance between two labels of one structure."""

    low: float
    high: float
    tolerance: float
    unit: str


# Binding per atom: no compound is below the fluorides' -4.6; beyond 6 the cell is not bound at all.
FORMATION_ENERGY = Limits(-6.0, 6.0, 0.1, "eV/atom")
# The maximum is that of neon and helium: below 25 even in many-body theory.
BAND_GAP = Limits(0.0, 25.0, 0.5, "eV")
# A stable crystal resists both; diamond has 443 and 535.
MODULUS = Limits(0.0, 700.0, 20.0, "GPa")
ABOVE_HULL = Limits(0.0, 10.0, 0.1, "eV/atom")

KNOWN = {
    **dict.fromkeys(
        ("formation_energy_peratom", "formation_energy_per_atom", "e_form", "_oqmd_delta_e"),
        FORMATION_ENERGY,
    ),
    **dict.fromkeys(
        (
            "optb88vdw_bandgap",
            "mbj_bandgap",
            "hse_gap",
            "band_gap",
            "band_gap_pbe",
            "gap pbe",
            "gap_pbe",
        ),
        BAND_GAP,
    ),
    "_oqmd_band_gap": BAND_GAP,
    **dict.fromkeys(
        ("bulk_modulus_kv", "bulk_modulus_vrh", "bulk_modulus_voigt", "bulk_modulus"), MODULUS
    ),
    **dict.fromkeys(
        ("shear_modulus_gv", "shear_modulus_vrh", "shear_modulus_voigt", "shear_modulus"), MODULUS
    ),
    **dict.fromkeys(("ehull", "energy_above_hull"), ABOVE_HULL),
    "poisson_ratio": Limits(-1.0, 0.5, 0.05, ""),
}


NO_LIMITS = Limits(-math.inf, math.inf, math.inf, "")


def limits(target: str, unit: str, config: CleaningConfig) -> Limits:
    """The limits of a target: the configured ones, else the known ones, else none (infinite).

    The known ones do not apply if the source states another unit.
    """
    known = KNOWN.get(target, NO_LIMITS)
    if unit not in ("", "1", known.unit):
        known = NO_LIMITS
    low, high = config.label_ranges.get(target, known[:2])
    return Limits(low, high, config.label_tolerances.get(target, known.tolerance), unit)
