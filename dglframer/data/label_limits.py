"""Physical ranges of well-known properties, and tolerances between two labels of one structure.

The ranges are wide: a number outside is a failed calculation or has a wrong unit. They apply to targets
with these names and units; tests hold docs/guide/splits.md and the sources' own names to this table.
"""

import logging
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from dglframer.config.data import CleaningConfig, DatasetConfig
from dglframer.data.sources.catalogue import BY_NAME, UNIT_NOT_STATED

log = logging.getLogger(__name__)


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
# The OQMD's distance to the hull of the other phases: below it (negative) for a stable compound.
STABILITY = Limits(-6.0, 10.0, 0.1, "eV/atom")
POISSON = Limits(-1.0, 0.5, 0.05, "")
MOLECULE_GAP = Limits(0.0, 1.0, 0.02, "hartree")  # helium: 0.9

# The names of the sources as ``plain_name`` writes them: `gap pbe`, `gap_pbe` and `gap.pbe` are one.
KNOWN = {
    **dict.fromkeys(
        (
            "formation_energy_peratom",
            "formation_energy_per_atom",
            "e_form",
            "oqmd_delta_e",
        ),
        FORMATION_ENERGY,
    ),
    **dict.fromkeys(
        (
            "optb88vdw_bandgap",
            "mbj_bandgap",
            "hse_gap",
            "band_gap",
            "bandgap",
            "band_gap_pbe",
            "gap_pbe",
            "oqmd_band_gap",
        ),
        BAND_GAP,
    ),
    **dict.fromkeys(
        (
            "bulk_modulus_kv",
            "bulk_modulus_vrh",
            "bulk_modulus_voigt",
            "bulk_modulus_reuss",
            "bulk_modulus",
            "shear_modulus_gv",
            "shear_modulus_vrh",
            "shear_modulus_voigt",
            "shear_modulus_reuss",
            "shear_modulus",
        ),
        MODULUS,
    ),
    **dict.fromkeys(("ehull", "energy_above_hull", "e_above_hull"), ABOVE_HULL),
    "oqmd_stability": STABILITY,
    **dict.fromkeys(("poisson", "poisson_ratio", "homogeneous_poisson"), POISSON),
    "homo_lumo_gap_au": MOLECULE_GAP,
}


NO_LIMITS = Limits(-math.inf, math.inf, math.inf, "")


def plain_name(target: str) -> str:
    """A target's name in small letters, with one underscore for whatever is no letter and no digit."""
    return re.sub("[^a-z0-9]+", "_", target.lower()).strip("_")


def limits(target: str, unit: str, config: CleaningConfig) -> Limits:
    """The limits of a target: the configured ones, else the known ones, else none (infinite).

    The known ones do not apply if the source states another unit.
    """
    known = KNOWN.get(plain_name(target), NO_LIMITS)
    if unit not in ("", "1", known.unit):
        known = NO_LIMITS
    low, high = config.label_ranges.get(target, known[:2])
    return Limits(low, high, config.label_tolerances.get(target, known.tolerance), unit)


def without_unit(dataset: DatasetConfig, units: Mapping[str, str]) -> list[str]:
    """The targets with a unit that nobody states; ``units``: what the data say.

    Plain numbers have none: those of the catalogue, of ``KNOWN``, or with ``""`` in the configuration.
    """
    source = dataset.source
    numbers = {name for name, unit in BY_NAME[source].targets.items() if not unit}
    numbers -= set(UNIT_NOT_STATED.get(source, ()))
    return [
        name
        for name in dataset.targets
        if not units.get(name)
        and name not in dataset.target_units
        and name not in numbers
        and KNOWN.get(plain_name(name), NO_LIMITS) is not POISSON
    ]


def warn_of_missing_units(dataset: DatasetConfig, units: Mapping[str, str]) -> None:
    """Name the targets without a unit in the log."""
    for name in without_unit(dataset, units):
        log.warning(
            "dataset.target_units: nothing states the unit of %s, so its labels are checked by name "
            'alone; give the unit, or "" for a plain number',
            name,
        )
