"""Small crystals, and other descriptions of one crystal: rotated, permuted, another cell."""

import itertools

import numpy as np

from dglframer.structures.crystal import Crystal


def triclinic() -> Crystal:
    lattice = np.array([[5.2, 0.3, -0.2], [-0.6, 5.7, 0.4], [0.5, -0.7, 6.1]])
    frac = [[0.05, 0.11, 0.07], [0.41, 0.22, 0.18], [0.63, 0.71, 0.35], [0.27, 0.58, 0.77]]
    return Crystal("triclinic", np.array([8, 22, 38, 16], np.int16), lattice, np.array(frac), {})


def rocksalt() -> Crystal:
    lattice = 2.82 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return Crystal(
        "NaCl", np.array([11, 17], np.int16), lattice, np.array([[0, 0, 0], [0.5] * 3]), {}
    )


def quartz() -> Crystal:
    """Right-handed alpha quartz, P3_1 21: chiral."""
    a, c = 4.914, 5.405
    lattice = np.array([[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]])
    u, (x, y, z) = 0.4697, (0.4135, 0.2669, 0.1191)
    silicon = [[u, 0, 1 / 3], [0, u, 2 / 3], [-u, -u, 0]]
    oxygen = [
        [x, y, z + 1 / 3],
        [-y, x - y, z + 2 / 3],
        [y - x, -x, z],
        [y, x, 2 / 3 - z],
        [x - y, -y, 1 / 3 - z],
        [-x, y - x, -z],
    ]
    numbers = np.array([14] * 3 + [8] * 6, np.int16)
    return Crystal("quartz", numbers, lattice, np.array(silicon + oxygen), {})


def mirror_site() -> Crystal:
    """Space group Pm: two images tie for the first axis, and a mirror, no rotation, relates them."""
    lattice = np.array([[6.1, 0, 0], [1.4, 6.6, 0], [0, 0, 7.3]])
    positions = np.array([[0, 0, 0], [1.1, 0.7, 1.5], [1.1, 0.7, -1.5], [2.7, 3.9, 0]])
    frac = positions @ np.linalg.inv(lattice)
    return Crystal("Pm", np.array([22, 8, 8, 38], np.int16), lattice, frac, {})


CRYSTALS = {crystal.id: crystal for crystal in (triclinic(), rocksalt(), quartz(), mirror_site())}


def rotated(crystal: Crystal, seed: int) -> Crystal:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q *= np.linalg.det(q)
    return changed(crystal, lattice=crystal.lattice_33 @ q.T)


def mirrored(crystal: Crystal) -> Crystal:
    return changed(crystal, lattice=crystal.lattice_33 * [1, 1, -1])


def supercell(crystal: Crystal, n: tuple[int, int, int]) -> Crystal:
    shifts = np.array(list(itertools.product(*map(range, n))))
    frac = ((crystal.frac_N3[None] + shifts[:, None]) / n).reshape(-1, 3)
    lattice = crystal.lattice_33 * np.array(n)[:, None]
    return changed(crystal, np.tile(crystal.numbers_N, len(shifts)), lattice, frac)


def unimodular(crystal: Crystal) -> Crystal:
    basis = np.array([[1, 1, 0], [0, 1, 2], [1, 1, 1]])
    assert round(np.linalg.det(basis)) == 1
    frac = crystal.frac_N3 @ np.linalg.inv(basis)
    return changed(crystal, lattice=basis @ crystal.lattice_33, frac=frac)


def changed(crystal, numbers=None, lattice=None, frac=None) -> Crystal:
    return Crystal(
        crystal.id,
        crystal.numbers_N if numbers is None else numbers,
        crystal.lattice_33 if lattice is None else lattice,
        crystal.frac_N3 if frac is None else frac,
        {},
    )


def permuted(crystal: Crystal, seed: int) -> Crystal:
    order = np.random.default_rng(seed).permutation(len(crystal.numbers_N))
    return changed(crystal, crystal.numbers_N[order], None, crystal.frac_N3[order])


EQUIVALENT = {
    "rotation": lambda c: rotated(c, 5),
    "another rotation": lambda c: rotated(c, 6),
    "translation": lambda c: changed(c, frac=c.frac_N3 + [0.31, -0.72, 5.45]),
    "order of atoms": lambda c: permuted(c, 7),
    "supercell": lambda c: supercell(c, (2, 1, 1)),
    "supercell, permuted, rotated": lambda c: rotated(permuted(supercell(c, (1, 2, 1)), 1), 9),
    "basis of the lattice": unimodular,
}
