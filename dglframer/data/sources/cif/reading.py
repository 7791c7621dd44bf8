"""CIF files to records: each data block with atoms is one, with its crystal or its reason."""

import gzip
import math
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import gemmi
import numpy as np

from dglframer.common.errors import Rejected
from dglframer.data.sources.cif.blocks import Block, read_blocks
from dglframer.data.sources.cif.checks import VOLUME_ERROR, Facts, check_cell, check_multiplicities
from dglframer.data.sources.cif.decision import Contents, decide
from dglframer.data.sources.cif.expansion import expand
from dglframer.data.sources.cif.formula import formula_sum
from dglframer.data.sources.cif.sites import Site, has_sites, read_sites
from dglframer.data.sources.cif.symmetry import Candidate, stated_symmetry
from dglframer.structures.crystal import Record, closest_pair

GZIP_MAGIC = b"\x1f\x8b"
ENDING = re.compile(r"\.m?cif(\.gz)?$", re.IGNORECASE)


def is_cif(path: Path) -> bool:
    """Whether the name is that of a CIF."""
    return ENDING.search(path.name) is not None


def read_cif(path: Path) -> list[Record]:
    """The crystals of a file as they stand: no primitive cell, no standard setting.

    Each data block with atoms or a cell is one; the ids are the name of the file, with -0, -1, ... if
    there are several. Whatever goes wrong becomes a record's ``problem``.
    """
    name = ENDING.sub("", path.name)
    try:
        data = path.read_bytes()
        blocks = read_blocks(gzip.decompress(data) if data.startswith(GZIP_MAGIC) else data)
    except (OSError, EOFError, zlib.error) as error:
        return [Record(name, problem=f"cannot be read: {error}")]
    except Rejected as reason:
        return [Record(name, problem=str(reason))]
    crystals = [block for block in blocks if has_sites(block)]
    if not crystals:
        return [Record(name, problem="cannot be read: no atom sites")]
    ids = [name] if len(crystals) == 1 else [f"{name}-{k}" for k in range(len(crystals))]
    return [read_block(block, id) for block, id in zip(crystals, ids, strict=True)]


def read_block(block: Block, id: str) -> Record:
    """The crystal of one data block, or the reason why it has none."""
    try:
        species, lattice_33, frac_N3 = crystal_of(block)
    except Rejected as reason:
        return Record(id, problem=str(reason))
    return Record(id, species=species, lattice=lattice_33, coords=frac_N3)


def crystal_of(block: Block) -> Contents:
    """Symbols, lattice and coordinates of a block; raises Rejected.

    The operators are those that the file lists. Where it names a setting only, all settings that
    the name can mean are tried, and those that contradict the cell, the formula, Z, the density or
    the multiplicities drop out. One crystal has to be left.
    """
    formula = formula_sum(block)
    sites = read_sites(block, None if formula is None else frozenset(formula))
    symmetry = stated_symmetry(block)
    lattice_33 = read_lattice(block)
    facts = Facts(block, formula)
    volume = abs(float(np.linalg.det(lattice_33)))
    if facts.volume and abs(facts.volume - volume) > VOLUME_ERROR * volume:
        raise Rejected(f"the cell has {volume:.5g} cubic angstrom, stated are {facts.volume:g}")

    def attempt(candidate: Candidate) -> tuple[Contents, bool]:
        check_cell(lattice_33, candidate.operators)
        atoms = expand(sites, candidate.operators, lattice_33)
        symbols = [sites[s].symbol for s in atoms.site_N]
        confirmed = facts.confirm(symbols, volume)
        if not symmetry.magnetic:  # where multiplicities count the operators of another cell
            check_multiplicities(sites, atoms, candidate.operators)
        refuse_close(sites, atoms.site_N, lattice_33, atoms.frac_N3)
        return (symbols, lattice_33, atoms.frac_N3), confirmed

    return decide(symmetry, attempt)


def read_lattice(block: Block) -> np.ndarray:
    """The lattice vectors as rows, in angstrom: a along x, b in the xy plane; raises Rejected."""
    lengths = [cell_number(block, f"_cell_length_{axis}") for axis in "abc"]
    angles = [cell_number(block, f"_cell_angle_{angle}") for angle in ("alpha", "beta", "gamma")]
    cell = gemmi.UnitCell(*lengths, *angles)
    possible = min(lengths) > 0 and min(angles) > 0 and max(angles) < 180
    if not possible or not math.isfinite(cell.volume) or cell.volume <= 0:
        numbers = " ".join(f"{value:g}" for value in (*lengths, *angles))
        raise Rejected(f"cannot be read: there is no cell {numbers}")
    return np.array(cell.orth.mat.tolist()).T


def cell_number(block: Block, name: str) -> float:
    value = block.number(name)
    if value is None:
        raise Rejected(f"cannot be read: no {name}")
    return value


def refuse_close(
    sites: Sequence[Site], site_N: np.ndarray, lattice_33: np.ndarray, frac_N3: np.ndarray
) -> None:
    """Raise Rejected, with the labels, if two atoms are closer than MIN_SITE_DISTANCE."""
    pair = closest_pair(lattice_33, frac_N3)
    if pair is None:
        return
    i, j, distance = pair
    one, other = sites[site_N[i]], sites[site_N[j]]
    what = f"sites {one.name} and {other.name}"
    if site_N[i] == site_N[j]:
        what = f"two images of site {one.name}"
    raise Rejected(f"{what} are {distance:.2f} angstrom apart")
