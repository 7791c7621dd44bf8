"""Other descriptions of one crystal: rotated, permuted, another cell."""

import itertools

import numpy as np

from dglframer.structures.crystal import Crystal
from helpers.crystals import mirror_site, quartz, rocksalt, triclinic

CRYSTALS = {crystal.id: crystal for crystal in (triclinic(), rocksalt(), quartz(), mirror_site())}


def rotated(crystal: Crystal, seed: int) -> Crystal:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q *= np.linalg.det(q)
    return changed(crystal, lattice=crystal.lattice_33 @ q.T)


def mirrored(crystal: Crystal) -> Crystal:
    return changed(crystal, lattice=crystal.lattice_33 * [1, 1, -1])


def supercell(crystal: Crystal, n: tuple[int, int, int]) -> Crystal:
    shifts = np.array(list(itertools.product(*map(range, n))))
    frac = ((crystal.coords_N3[None] + shifts[:, None]) / n).reshape(-1, 3)
    lattice = crystal.lattice_33 * np.array(n)[:, None]
    return changed(crystal, np.tile(crystal.numbers_N, len(shifts)), lattice, frac)


def unimodular(crystal: Crystal) -> Crystal:
    basis = np.array([[1, 1, 0], [0, 1, 2], [1, 1, 1]])
    assert round(np.linalg.det(basis)) == 1
    frac = crystal.coords_N3 @ np.linalg.inv(basis)
    return changed(crystal, lattice=basis @ crystal.lattice_33, frac=frac)


def changed(crystal, numbers=None, lattice=None, frac=None) -> Crystal:
    return Crystal(
        crystal.id,
        crystal.numbers_N if numbers is None else numbers,
        crystal.lattice_33 if lattice is None else lattice,
        crystal.coords_N3 if frac is None else frac,
        {},
    )


def permuted(crystal: Crystal, seed: int) -> Crystal:
    order = np.random.default_rng(seed).permutation(len(crystal.numbers_N))
    return changed(crystal, crystal.numbers_N[order], None, crystal.coords_N3[order])


EQUIVALENT = {
    "rotation": lambda c: rotated(c, 5),
    "another rotation": lambda c: rotated(c, 6),
    "translation": lambda c: changed(c, frac=c.coords_N3 + [0.31, -0.72, 5.45]),
    "order of atoms": lambda c: permuted(c, 7),
    "supercell": lambda c: supercell(c, (2, 1, 1)),
    "supercell, permuted, rotated": lambda c: rotated(permuted(supercell(c, (1, 2, 1)), 1), 9),
    "basis of the lattice": unimodular,
}
