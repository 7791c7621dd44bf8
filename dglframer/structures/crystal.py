"""One crystal: the record that every source yields, and its validation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dglframer.common.elements import MAX_Z, atomic_number
from dglframer.common.errors import Rejected
from dglframer.common.text import escaped, is_utf8
from dglframer.structures.neighbors import edge_vectors, molecule_edges, periodic_edges, wrapped

MIN_VOLUME_PER_ATOM = 1.0  # cubic angstrom; solid hydrogen at 100 GPa still has 2
MIN_CELL_HEIGHT = (
    0.25  # angstrom between lattice planes: image numbers fit int8 at any cutoff <= 30
)
# Angstrom, in crystals and molecules. H2 has 0.74, and so has the closest pair of the crystals of the
# Materials Project; closer are one atom written twice, alternatives, or coordinates of another kind.
MIN_SITE_DISTANCE = 0.5
OUTSIDE_CELL = 0.1  # of a cell vector, how far an atom may be outside and still count as inside
NUMBERS = (int, float, np.integer, np.floating)
NO_LABEL = "no label"  # what the reason for a record without the wanted label begins with


@dataclass(frozen=True)
class Record:
    """What a source read, before validation.

    ``species``: element symbols or atomic numbers; ``lattice``: rows in angstrom, or None for a
    molecule; ``coords``: [N, 3], fractional, or of a molecule Cartesian (angstrom); ``labels``: values by
    property, as the source has them; ``split``: the source's own split or ""; ``problem``: why no
    structure could be read, if so; ``date``: when the entry was last changed (ISO 8601), if known.
    """

    id: str
    species: Sequence[Any] = ()
    lattice: Any = None
    coords: Any = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    split: str = ""
    problem: str = ""
    date: str | None = None

    def __post_init__(self) -> None:
        """A record under an id that no file of ours can hold is a problem; its texts are escaped."""
        if not is_utf8(self.id):
            object.__setattr__(self, "problem", self.problem or "its name is not UTF-8")
        for name in ("id", "problem", "split"):
            object.__setattr__(self, name, escaped(getattr(self, name)))
        if self.date is not None:
            object.__setattr__(self, "date", escaped(self.date))


@dataclass(frozen=True)
class Crystal:
    """A validated crystal: finite, every site one known element, one of the wanted labels at least.

    A molecule is one without a lattice.
    """

    id: str
    numbers_N: np.ndarray  # int16, atomic numbers
    lattice_33: np.ndarray | None  # float64, rows are lattice vectors, angstrom; None: a molecule
    coords_N3: (
        np.ndarray
    )  # float64: fractional as given, not wrapped; of a molecule Cartesian, angstrom
    labels: dict[str, float | None]  # finite, or None where there is none
    split: str = ""
    file_position: int = 0  # of its record among those of the source, from 0
    date: str | None = None


def validate(record: Record, targets: Sequence[str] = ()) -> Crystal:
    """Turn a record into a Crystal; raises Rejected with the reason."""
    if record.problem:
        raise Rejected(record.problem)
    if not record.id:
        raise Rejected("no id")
    # Before the structure: an entry without the label is none of the data set's, good or bad.
    labels = {name: label(name, record.labels.get(name)) for name in targets}
    if targets and all(value is None for value in labels.values()):
        raise Rejected(f"{NO_LABEL} {', '.join(targets)}")
    numbers_N = np.array([element(name) for name in record.species], dtype=np.int16)
    if not len(numbers_N):
        raise Rejected("no atoms")
    if record.lattice is None:
        lattice_33 = None
        frac_N3 = finite_array(record.coords, (len(numbers_N), 3), "coordinates")
    else:
        lattice_33 = finite_array(record.lattice, (3, 3), "lattice")
        frac_N3 = finite_array(record.coords, (len(numbers_N), 3), "fractional coordinates")
        reject_flat_cell(lattice_33, len(numbers_N))
        reject_cartesian(lattice_33, frac_N3)
    reject_close_sites(lattice_33, frac_N3)
    return Crystal(
        record.id, numbers_N, lattice_33, frac_N3, labels, record.split, date=record.date
    )


def element(name: Any) -> int:
    """Atomic number of a symbol or number; raises Rejected for what the model has no embedding for."""
    number = atomic_number(name) if isinstance(name, str) else name
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        raise Rejected(f"unknown element {name!r}")
    if not 1 <= number <= MAX_Z:
        raise Rejected(f"element Z = {number}, known are 1 to {MAX_Z}")
    return int(number)


def finite_array(values: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    """A float64 array of the given shape; raises Rejected if it is not one or not finite."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise Rejected(f"{what}: not numbers") from None
    if array.shape != shape:
        raise Rejected(f"{what}: shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        raise Rejected(f"{what}: NaN or infinite")
    return array


def reject_flat_cell(lattice_33: np.ndarray, n_atoms: int) -> None:
    """Raise Rejected if the cell has too little room for its atoms, or is too thin."""
    volume = abs(float(np.linalg.det(lattice_33)))
    if not MIN_VOLUME_PER_ATOM <= volume / n_atoms < math.inf:
        raise Rejected(f"cell of {volume / n_atoms:.3g} cubic angstrom per atom")
    spacing = 1 / float(np.linalg.norm(np.linalg.inv(lattice_33), axis=0).max())
    if spacing < MIN_CELL_HEIGHT:
        raise Rejected(f"cell {spacing:.3g} angstrom thin; give a less skewed cell of this lattice")


def reject_cartesian(lattice_33: np.ndarray, frac_N3: np.ndarray) -> None:
    """Raise Rejected if fractional coordinates must be Cartesian ones.

    They leave the cell, as angstroms they do not, and then the closest atoms are farther apart. Atoms
    that a trajectory has carried out of the cell are not like this.
    """
    if frac_N3.min() >= -OUTSIDE_CELL and frac_N3.max() <= 1 + OUTSIDE_CELL:
        return
    other_N3 = frac_N3 @ np.linalg.inv(lattice_33)
    if other_N3.min() < -OUTSIDE_CELL or other_N3.max() > 1 + OUTSIDE_CELL:
        return
    if nearest(lattice_33, other_N3) > 1.1 * nearest(lattice_33, frac_N3):
        raise Rejected(
            f"fractional coordinates from {frac_N3.min():.3g} to {frac_N3.max():.3g}: these are Cartesian "
            "(all are in the cell if read in angstrom); divide them by the lattice"
        )


def nearest(lattice_33: np.ndarray, frac_N3: np.ndarray) -> float:
    """The smallest distance of two atoms (angstrom), images included."""
    cutoff = 1.0
    while True:
        edges = periodic_edges(lattice_33, frac_N3, cutoff)
        if len(edges.src_E) > len(frac_N3):
            distance_E = np.linalg.norm(edge_vectors(lattice_33, wrapped(frac_N3), edges), axis=1)
            return float(
                np.sort(distance_E)[len(frac_N3)]
            )  # after the edges of atoms to themselves
        cutoff *= 2


def reject_close_sites(lattice_33: np.ndarray | None, coords_N3: np.ndarray) -> None:
    """Raise Rejected if two atoms are closer than MIN_SITE_DISTANCE; without a lattice in a molecule."""
    pair = closest_pair(lattice_33, coords_N3)
    if pair is not None:
        i, j, distance = pair
        where = "no lattice, and " if lattice_33 is None else ""
        what = f"sites {i} and {j}" if i != j else f"site {i} and its own image"
        raise Rejected(f"{where}{what} are {distance:.2f} angstrom apart")


def closest_pair(
    lattice_33: np.ndarray | None, coords_N3: np.ndarray
) -> tuple[int, int, float] | None:
    """The two closest atoms and their distance (angstrom); None if it is above MIN_SITE_DISTANCE.

    Coordinates are fractional, or Cartesian without a lattice. An atom and its own image count.
    """
    if lattice_33 is None:
        edges = molecule_edges(coords_N3, MIN_SITE_DISTANCE)
        frac_N3 = coords_N3
    else:
        edges = periodic_edges(lattice_33, coords_N3, MIN_SITE_DISTANCE)
        frac_N3 = wrapped(coords_N3)
    if len(edges.src_E) == len(coords_N3):  # an edge of each atom to itself
        return None
    distance_E = np.linalg.norm(edge_vectors(lattice_33, frac_N3, edges), axis=1)
    itself_E = (edges.src_E == edges.dst_E) & (edges.image_E3 == 0).all(1)
    distance_E[itself_E] = np.inf
    closest = int(distance_E.argmin())
    return int(edges.dst_E[closest]), int(edges.src_E[closest]), float(distance_E[closest])


def label(name: str, value: Any) -> float | None:
    """A finite label, or None for a missing one; raises Rejected for text, NaN and infinity."""
    if value is None or value == "":
        return None
    if isinstance(value, bool | str) or not isinstance(value, NUMBERS):
        raise Rejected(f"label {name} is not a number: {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an integer of 400 digits
        raise Rejected(f"label {name} is not a number: {value!r:.40}") from None
    if not math.isfinite(number):
        raise Rejected(f"label {name} is {number}")
    return number
