"""Whether the atoms of a cell agree with what else the file says of it."""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from math import gcd

import numpy as np
from gemmi import Element

from dglframer.common.errors import Rejected
from dglframer.data.sources.cif.blocks import Block
from dglframer.data.sources.cif.expansion import Atoms
from dglframer.data.sources.cif.formula import ROUNDING, Formula, other_elements, units, written
from dglframer.data.sources.cif.operators import Operators
from dglframer.data.sources.cif.sites import Site

AXIS_STRAIN = 0.01  # relative, how far a cell may be from the shape that its operators need
DENSITY_ERROR = 0.05  # relative, of a stated density; wrong contents are farther off, mostly
WEIGHT_ERROR = 0.01  # relative, of a stated weight of the formula
TRITIUM = 3.016  # u
VOLUME_ERROR = 0.02  # relative, of a stated volume
DALTON = 1.66054  # g/cm³ of 1 u in 1 Å³ (CODATA 2022: 1 u = 1.66053907e-24 g)


class Facts:
    """What a block says of its contents, besides sites and symmetry."""

    def __init__(self, block: Block, formula: Formula | None):
        self.formula = formula
        self.other_elements = other_elements(block) if formula is None else frozenset()
        self.units = block.number("_cell_formula_units_z")
        self.weight = block.number("_chemical_formula_weight")
        self.density = block.number("_exptl_crystal_density_diffrn")
        self.volume = block.number("_cell_volume")

    def confirm(self, symbols: Sequence[str], volume: float) -> bool:
        """Whether formula and units, or the density, confirm the contents of the cell.

        False if there is too little to tell. Raises Rejected if they contradict it.
        """
        content = Counter(symbols)
        confirmed = False
        if self.formula is not None:
            confirmed = self.check_formula(content, self.formula)
        elif missing := self.other_elements - content.keys():
            raise Rejected(missing_text(missing, content, " ".join(sorted(self.other_elements))))
        if self.formula is None and self.weight and self.units:
            check_mass(content, self.weight * self.units, WEIGHT_ERROR, "weight and Z")
            confirmed = True
        if self.density:
            check_mass(content, self.density * volume / DALTON, DENSITY_ERROR, "density")
            confirmed = True
        return confirmed

    def check_formula(self, content: Counter[str], formula: Formula) -> bool:
        """Whether formula and Z confirm the contents; raises Rejected if they contradict it."""
        number = units(content, formula)
        if number is None:
            missing = formula.keys() - content.keys()
            raise Rejected(missing_text(missing, content, written(formula)))
        whole = all(amount.denominator == 1 for amount in formula.values())
        if whole and number.denominator != 1:
            raise Rejected(f"the cell has {float(number):.3g} formulas {written(formula)}")
        if not self.units:
            return False
        # Some programs write the contents of the cell as the formula, and Z of the reduced one.
        reduced = gcd(*(int(amount) for amount in formula.values())) if whole else 1
        of_reduced = number == 1 and self.units == reduced
        off = abs(number - Fraction(self.units))
        if off > (0 if whole else ROUNDING * number) and not of_reduced:
            found = f"the cell has {float(number):g} formulas {written(formula)}"
            raise Rejected(f"{found}, stated is Z = {self.units:g}")
        return True


def missing_text(missing: frozenset[str] | set[str], content: Counter[str], formula: str) -> str:
    """The reason that names sites and formula."""
    what = "hydrogen positions missing: " if missing == {"H"} else ""
    return f"{what}sites {written(reduced(content))}, formula {formula}"


def reduced(content: Counter[str]) -> dict[str, int]:
    divisor = gcd(*content.values())
    return {symbol: count // divisor for symbol, count in content.items()}


def check_mass(content: Counter[str], stated: float, error: float, what: str) -> None:
    """Raise Rejected if the atoms do not have the stated mass (u); each H may be an isotope."""
    mass = sum(Element(symbol).weight * count for symbol, count in content.items())
    heaviest = mass + (TRITIUM - 1) * content["H"]
    if not mass * (1 - error) <= stated <= heaviest * (1 + error):
        raise Rejected(
            f"the sites of a cell have a mass of {mass:.4g} u, by {what} it has {stated:.4g}"
        )


def check_multiplicities(sites: Sequence[Site], atoms: Atoms, ops: Operators) -> None:
    """Raise Rejected if a stated multiplicity contradicts the number of images.

    SHELXL-97 and others give the order of the site symmetry under the name of the multiplicity: the
    numbers have to agree with one of the two for all sites.
    """
    n_ops = len(ops.rotations_G33)
    stated = [(s, orbit) for s, orbit in zip(sites, atoms.orbit_S, strict=True) if s.multiplicity]
    wrong = [(s, orbit) for s, orbit in stated if s.multiplicity != orbit]
    if wrong and any(s.multiplicity != n_ops // orbit for s, orbit in stated):
        site, orbit = wrong[0]
        raise Rejected(
            f"site {site.name}: {orbit} images, stated is a multiplicity of {site.multiplicity}"
        )
    for site, orbit in zip(sites, atoms.orbit_S, strict=True):
        if n_ops == 1 and site.letter not in ("", "a"):
            raise Rejected(f"site {site.name}: P 1 has one position, a, and not {site.letter}")
        if site.orbit and site.orbit != orbit:
            raise Rejected(
                f"site {site.name}: {orbit} images, stated is a position of {site.orbit}"
            )
        if site.symmetry_order and site.symmetry_order != n_ops // orbit:
            order = n_ops // orbit
            raise Rejected(
                f"site {site.name}: a symmetry of order {order}, stated is {site.symmetry_order}"
            )


def check_cell(lattice_33: np.ndarray, ops: Operators) -> None:
    """Raise Rejected if an operator would change the shape of the cell."""
    metric_33 = lattice_33 @ lattice_33.T
    turned_G33 = np.einsum("gki,kl,glj->gij", ops.rotations_G33, metric_33, ops.rotations_G33)
    lengths_3 = np.sqrt(np.diag(metric_33))
    strain_G33 = abs(turned_G33 - metric_33) / np.outer(lengths_3, lengths_3)
    if strain_G33.max() > 2 * AXIS_STRAIN:
        raise Rejected("the operators do not fit the cell")
