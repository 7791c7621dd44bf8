"""Fingerprints: blind to the choice of cell, not to the structure."""

import numpy as np
import pytest
from helpers.cells import ROTATION, supercell
from helpers.crystals import crystal

from dglframer.structures.fingerprints import alike, as_structure, fingerprint, same_structure
from dglframer.structures.symmetry import reduced_formula, space_group, system_of

SKEW = np.array([[1, 0, 0], [3, 1, 0], [-2, 1, 1]])  # determinant 1: another cell of one lattice


def parts(one):
    return one.numbers_N, one.lattice_33, one.coords_N3


SAME = {
    "rotated": lambda c: (c.numbers_N, c.lattice_33 @ ROTATION, c.coords_N3),
    "mirrored": lambda c: (c.numbers_N, c.lattice_33 * [1, 1, -1], c.coords_N3),
    "moved": lambda c: (c.numbers_N, c.lattice_33, c.coords_N3 + [0.3, -1.7, 5.2]),
    "skewed": lambda c: (c.numbers_N, SKEW @ c.lattice_33, c.coords_N3 @ np.linalg.inv(SKEW)),
    "permuted": lambda c: (c.numbers_N[::-1], c.lattice_33, c.coords_N3[::-1]),
    "supercell": lambda c: supercell(c, 3),
    "relaxed a little": lambda c: (c.numbers_N, 1.002 * c.lattice_33, c.coords_N3 + 0.0005),
}


@pytest.mark.parametrize("change", SAME)
@pytest.mark.parametrize("name", ["rocksalt", "cscl_like", "triclinic"])
def test_one_structure_in_another_description_is_found(request, name, change):
    one = request.getfixturevalue(name)
    other = SAME[change](one)
    assert alike(fingerprint(*parts(one)), fingerprint(*other))
    assert same_structure(as_structure(*parts(one)), as_structure(*other))
    assert reduced_formula(other[0]) == reduced_formula(one.numbers_N)


def test_exact_copies_have_the_fingerprint_to_rounding(triclinic):
    first = fingerprint(*parts(triclinic))
    for change in ("rotated", "skewed", "supercell"):
        second = fingerprint(*SAME[change](triclinic))
        np.testing.assert_allclose(second.distances, first.distances, atol=1e-5)
        assert second.volume == pytest.approx(first.volume)


def test_other_structures_differ(rocksalt):
    caesium = crystal("x", "Na Cl", 3.55 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]])  # same volume
    first, second = fingerprint(*parts(rocksalt)), fingerprint(*parts(caesium))
    assert first.volume == pytest.approx(second.volume, rel=0.01)
    assert not alike(first, second)
    swollen = rocksalt.numbers_N, 1.03 * rocksalt.lattice_33, rocksalt.coords_N3
    assert not alike(first, fingerprint(*swollen))
    assert not same_structure(as_structure(*parts(rocksalt)), as_structure(*parts(caesium)))


def test_swapped_elements_are_told_apart():
    lattice_33, frac_N3 = 4 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    sites = np.array([*frac_N3, [0.5, 0.5, 0.5]])
    first = crystal("a", "O O O O Ti", lattice_33, sites)
    second = crystal("b", "Ti O O O O", lattice_33, sites)
    assert not alike(fingerprint(*parts(first)), fingerprint(*parts(second)))


def test_isolated_atoms_and_molecules_have_one_too():
    alone = crystal("a", "Ar", 40 * np.eye(3), [[0, 0, 0]])
    assert np.all(fingerprint(*parts(alone)).distances == 25.0)
    water_N3 = np.array([[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    numbers_N = np.array([8, 1, 1])
    first = fingerprint(numbers_N, None, water_N3)
    assert alike(first, fingerprint(numbers_N, None, water_N3 @ ROTATION + 3))
    assert not alike(first, fingerprint(numbers_N, None, 1.1 * water_N3))
    assert same_structure(None, None)
    assert space_group(numbers_N, None, water_N3) == 0


@pytest.mark.parametrize(
    ("name", "group", "system"),
    [("rocksalt", 225, "cubic"), ("cscl_like", 221, "cubic"), ("triclinic", 1, "triclinic")],
)
def test_space_groups(request, name, group, system):
    one = request.getfixturevalue(name)
    for change in ("rotated", "skewed", "supercell"):
        found = space_group(*SAME[change](one))
        assert (found, system_of(found)) == (group, system)
    assert system_of(0) == "unknown"


@pytest.mark.parametrize(
    ("lengths", "angle", "expected"),
    [
        ((3, 3, 3), 90, "cubic"),
        ((3, 3, 4), 90, "tetragonal"),
        ((3, 4, 5), 90, "orthorhombic"),
        ((3, 3, 4), 120, "hexagonal"),
        ((3, 4, 5), 100, "monoclinic"),
    ],
)
def test_crystal_systems(lengths: tuple[float, ...], angle: float, expected: str):
    a, b, c = lengths
    radians = np.radians(angle)
    lattice = np.array([[a, 0, 0], [b * np.cos(radians), b * np.sin(radians), 0], [0, 0, c]])
    assert system_of(space_group(np.array([29]), lattice, np.zeros((1, 3)))) == expected


def test_two_atoms_in_one_place_have_no_crystal_system():
    assert system_of(space_group(np.array([1, 1]), np.eye(3) * 3, np.zeros((2, 3)))) == "unknown"
