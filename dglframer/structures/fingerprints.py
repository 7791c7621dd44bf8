"""When two crystals are one structure: a fast invariant proposes, pymatgen's StructureMatcher confirms.

The invariant is the volume per atom and, for each element, the distances to the first, second, ...
nearest neighbour averaged over its sites (average minimum distances: D. Widdowson et al., MATCH
Commun. Math. Comput. Chem. 87, 529 (2022)). It does not depend on the choice of cell, the order of the
sites, rotations or mirror images, and small shifts of the atoms change it little. For molecules, which
have no lattice, the invariant decides alone.
"""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dglframer.common.elements import SYMBOLS
from dglframer.structures.neighbors import edge_vectors, periodic_edges, wrapped

if TYPE_CHECKING:
    from pymatgen.core import Structure

NEIGHBOURS = 12
MAX_DISTANCE = 25.0  # angstrom; larger distances to neighbours count as this one
VOLUME_TOLERANCE = 0.02  # of the volume per atom
DISTANCE_TOLERANCE = 0.05  # angstrom, of each average distance


@dataclass(frozen=True)
class Fingerprint:
    """The invariant; comparable between crystals of one reduced formula only."""

    volume: float  # cubic angstrom per atom
    distances: np.ndarray  # float32 [elements by number, NEIGHBOURS], angstrom


def fingerprint(
    numbers_N: np.ndarray, lattice_33: np.ndarray | None, frac_N3: np.ndarray
) -> Fingerprint:
    """The invariant of one validated crystal, or of a molecule (no lattice, Cartesian coordinates)."""
    if lattice_33 is None:
        volume = 0.0
        nearest_NK = nearest_in_molecule(frac_N3)
    else:
        volume = abs(float(np.linalg.det(lattice_33))) / len(numbers_N)
        nearest_NK = nearest_distances(lattice_33, frac_N3)
    elements = np.unique(numbers_N)
    distances = np.stack([nearest_NK[numbers_N == z].mean(0) for z in elements])
    return Fingerprint(volume, distances.astype(np.float32))


def nearest_in_molecule(coords_N3: np.ndarray) -> np.ndarray:
    """Distances of each atom to its NEIGHBOURS nearest others, [N, NEIGHBOURS], ascending."""
    r_NN = np.linalg.norm(coords_N3[:, None] - coords_N3[None], axis=-1)
    nearest = np.full((len(coords_N3), NEIGHBOURS), MAX_DISTANCE)
    others = np.sort(r_NN, axis=1)[:, 1 : NEIGHBOURS + 1]
    nearest[:, : others.shape[1]] = np.minimum(others, MAX_DISTANCE)
    return nearest


def nearest_distances(lattice_33: np.ndarray, frac_N3: np.ndarray) -> np.ndarray:
    """Distances of each site to its NEIGHBOURS nearest images of sites, [N, NEIGHBOURS], ascending."""
    n = len(frac_N3)
    volume = abs(float(np.linalg.det(lattice_33))) / n
    # Evenly spread atoms: the sphere of this radius holds three times the wanted neighbours.
    cutoff = min(MAX_DISTANCE, (9 * NEIGHBOURS * volume / (4 * np.pi)) ** (1 / 3))
    while True:
        edges = periodic_edges(lattice_33, frac_N3, cutoff)
        counts = np.bincount(edges.dst_E, minlength=n) - 1  # without the self edge
        if counts.min() >= NEIGHBOURS or cutoff >= MAX_DISTANCE:
            break
        cutoff = min(MAX_DISTANCE, 1.3 * cutoff)
    r_E = np.linalg.norm(edge_vectors(lattice_33, wrapped(frac_N3), edges), axis=1)
    order = np.lexsort((r_E, edges.dst_E))
    starts = np.concatenate([[0], np.cumsum(counts + 1)])
    nearest = np.full((n, NEIGHBOURS), MAX_DISTANCE)
    for i in range(n):
        found = r_E[order[starts[i] + 1 : starts[i + 1]]][:NEIGHBOURS]
        nearest[i, : len(found)] = found
    return nearest


def alike(first: Fingerprint, second: Fingerprint) -> bool:
    """Whether two crystals of one reduced formula may be one structure."""
    if abs(first.volume - second.volume) > VOLUME_TOLERANCE * max(first.volume, second.volume):
        return False
    return bool(np.abs(first.distances - second.distances).max() <= DISTANCE_TOLERANCE)


def same_structure(first: "Structure | None", second: "Structure | None") -> bool:
    """Whether StructureMatcher maps one crystal onto the other, without stretching it."""
    if first is None or second is None:
        return first is second  # two molecules: the fingerprints have decided
    return bool(matcher().fit(first, second))


@cache
def matcher() -> Any:
    """pymatgen's matcher with its default tolerances, but without scaling to equal volumes."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher(scale=False)


def as_structure(
    numbers_N: np.ndarray, lattice_33: np.ndarray | None, frac_N3: np.ndarray
) -> "Structure | None":
    """A crystal as a pymatgen Structure; None for a molecule."""
    from pymatgen.core import Structure

    if lattice_33 is None:
        return None

    return Structure(lattice_33, [SYMBOLS[z - 1] for z in numbers_N], frac_N3)
