"""One rule for what is a crystal and what is a molecule, whatever format says it.

Periodic along three axes: a crystal. Along none, and no cell or a box with room around the atoms: a
molecule. All else is refused, because its neighbours are not known: slabs, wires, and a cell that is
full of atoms but stated as not periodic. ``assume_periodic`` makes crystals of those that have a cell.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dglframer.common.errors import Rejected
from dglframer.structures.crystal import Record, finite_array, reject_flat_cell
from dglframer.structures.neighbors import edge_vectors, periodic_edges, wrapped

MIN_GAP = 5.5  # angstrom between the atoms of a box and their images; solid caesium has 5.2
ASSUMED = (
    "dataset.periodicity is assume_periodic: what has a cell counts as a crystal, whatever the file "
    "says of its axes."
)
MEND = "for a crystal state all three axes as periodic, or set dataset.periodicity: assume_periodic"


def structure_record(
    id: str,
    species: Sequence[Any],
    cell_33: Any,
    frac_N3: Any,
    pbc: Any = (True, True, True),
    assume_periodic: bool = False,
    **known: Any,
) -> Record:
    """A record of a structure with a cell, by the rule above.

    ``cell_33``: rows in angstrom; ``pbc``: three truth values, or one for all; ``known``: other
    fields of the record. What is refused carries its problem.
    """
    try:
        periodic = n_periodic(pbc) == 3 or assume_periodic
        if not periodic and n_periodic(pbc):
            raise Rejected(f"periodic along {n_periodic(pbc)} of 3 axes: {MEND}")
        if periodic:
            return Record(id, species, cell_33, frac_N3, **known)
        return Record(id, species, None, molecule_in_box(cell_33, frac_N3), **known)
    except Rejected as reason:
        return Record(id, problem=str(reason), **known)


def notes(assume_periodic: bool) -> list[str]:
    """The sentence for the report, if the assumption is made."""
    return [ASSUMED] if assume_periodic else []


def n_periodic(pbc: Any) -> int:
    """How many axes are periodic; raises Rejected if ``pbc`` does not say so."""
    flags = np.asarray(pbc)
    if flags.shape not in ((), (3,)) or flags.dtype.kind not in "biu":
        raise Rejected(f"pbc {pbc!r} is not three truth values")
    return int(np.broadcast_to(flags.astype(bool), 3).sum())


def molecule_in_box(cell_33: Any, frac_N3: Any) -> np.ndarray:
    """Cartesian coordinates of atoms in a box; raises Rejected if the cell is tight around them."""
    frac_N3 = finite_array(frac_N3, (len(frac_N3), 3), "fractional coordinates")
    cell_33 = finite_array(cell_33, (3, 3), "lattice")
    reject_flat_cell(cell_33, max(len(frac_N3), 1))
    gap = image_gap(cell_33, frac_N3)
    if gap is not None:
        raise Rejected(
            f"stated as not periodic, but the cell is tight: images are {gap:.2f} angstrom from the "
            f"atoms; {MEND}; for a molecule leave out the cell"
        )
    return frac_N3 @ cell_33


def image_gap(cell_33: np.ndarray, frac_N3: np.ndarray) -> float | None:
    """The shortest distance from an atom to an image of one, in angstrom; None if above MIN_GAP."""
    edges = periodic_edges(cell_33, frac_N3, MIN_GAP)
    inside_N3 = wrapped(frac_N3)
    cells_N3 = np.rint(inside_N3 - frac_N3)  # the search moved the atoms by so many cells
    image_E3 = edges.image_E3 + cells_N3[edges.src_E] - cells_N3[edges.dst_E]
    distances_E = np.linalg.norm(edge_vectors(cell_33, inside_N3, edges), axis=1)
    of_images = distances_E[image_E3.any(axis=1)]
    return float(of_images.min()) if len(of_images) else None
