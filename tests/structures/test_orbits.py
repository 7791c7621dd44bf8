"""Equivalent sites: those of known crystals, of any description, and as spglib finds them."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import spglib
from helpers.cells import ROTATION, supercell
from helpers.crystals import (
    copper,
    crystal,
    cscl_like,
    diamond,
    mirror_site,
    quartz,
    rocksalt,
    triclinic,
)

from dglframer.structures import orbits as module
from dglframer.structures.neighbors import edge_vectors, periodic_edges
from dglframer.structures.orbits import (
    EDGE_TOLERANCE,
    TOLERANCE,
    find_orbits,
    symmetrised,
    with_like_edges,
)

SKEW = np.array([[1, 2, -3], [0, 1, 4], [0, 0, 1]])
CHANGES = {
    "rotated": lambda z, lattice, frac: (z, lattice @ ROTATION, frac),
    "mirrored": lambda z, lattice, frac: (z, lattice * [1, 1, -1], frac),
    "moved": lambda z, lattice, frac: (z, lattice, frac + [0.3, -1.7, 5.2]),
    "skewed": lambda z, lattice, frac: (z, SKEW @ lattice, frac @ np.linalg.inv(SKEW)),
    "left-handed": lambda z, lattice, frac: (z, lattice[::-1], frac[:, ::-1]),
}


def parts(one):
    return one.numbers_N, one.lattice_33, one.coords_N3


def conventional():
    """NaCl, four formulas: the centring relates them."""
    sodium = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    sites = np.concatenate([sodium, sodium + [0.5, 0, 0]])
    return crystal("nacl", "Na " * 4 + "Cl " * 4, 5.64 * np.eye(3), sites)


@pytest.mark.parametrize(
    ("one", "proper", "every"),
    [
        (copper(), [0], [0]),
        (rocksalt(), [0, 1], [0, 1]),
        (cscl_like(), [0, 1], [0, 1]),
        (diamond(), [0, 0], [0, 0]),
        (triclinic(), [0, 1, 2, 3], [0, 1, 2, 3]),
        (quartz(), [0, 0, 0, 3, 3, 3, 3, 3, 3], [0, 0, 0, 3, 3, 3, 3, 3, 3]),
        (mirror_site(), [0, 1, 2, 3], [0, 1, 1, 3]),  # a mirror, no rotation, relates the oxygens
        (conventional(), [0] * 4 + [4] * 4, [0] * 4 + [4] * 4),
    ],
    ids=lambda value: getattr(value, "id", None),
)
def test_sites_of_known_crystals(one, proper, every):
    found = find_orbits(*parts(one))
    assert found.proper_N.tolist() == proper and found.every_N.tolist() == every
    assert found.proper_N.dtype == found.every_N.dtype == np.int32


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("one", [quartz(), mirror_site(), conventional()], ids=lambda one: one.id)
def test_orbits_do_not_depend_on_the_description(one, change):
    before, after = find_orbits(*parts(one)), find_orbits(*CHANGES[change](*parts(one)))
    assert np.array_equal(before.proper_N, after.proper_N)
    assert np.array_equal(before.every_N, after.every_N)


def test_atoms_in_another_order():
    numbers_N, lattice_33, frac_N3 = parts(quartz())
    order = np.random.default_rng(2).permutation(len(numbers_N))
    found = find_orbits(numbers_N[order], lattice_33, frac_N3[order])
    for label_N in found:
        assert len(np.unique(label_N)) == 2
        assert (label_N[label_N] == label_N).all() and (label_N <= np.arange(9)).all()
        assert np.array_equal(numbers_N[order][label_N], numbers_N[order])


def test_translations_of_a_supercell_are_operations():
    found = find_orbits(*supercell(triclinic(), 5))
    assert found.proper_N.tolist() == [0, 1, 2, 3] * 5


@pytest.mark.parametrize(("moved", "orbits"), [(0.3 * TOLERANCE, 2), (10 * TOLERANCE, 5)])
def test_a_moved_atom_breaks_the_symmetry_beyond_the_tolerance(moved, orbits):
    """A silicon atom moves along its two-fold axis, which still relates the others in pairs."""
    one = quartz()
    frac = one.coords_N3.copy()
    frac[0] += [moved / 4.914, 0, 0]
    found = find_orbits(one.numbers_N, one.lattice_33, frac)
    assert len(np.unique(found.proper_N)) == orbits


def noisy(one, scale, seed=0):
    """(numbers, lattice, frac) with every coordinate and lattice vector off by about ``scale`` angstrom."""
    rng = np.random.default_rng(seed)
    numbers_N, lattice_33, frac_N3 = parts(one)
    noise_N3 = rng.normal(0, scale, frac_N3.shape) @ np.linalg.inv(lattice_33)
    return numbers_N, lattice_33 + rng.normal(0, scale, (3, 3)), frac_N3 + noise_N3


def lengths(lattice_33, frac_N3):
    """The sorted distances of each site to its neighbours."""
    frac_N3 = frac_N3 - np.floor(frac_N3)
    edges = periodic_edges(lattice_33, frac_N3, 5.0)
    length_E = np.linalg.norm(edge_vectors(lattice_33, frac_N3, edges), axis=1)
    return [np.sort(length_E[edges.dst_E == i]) for i in range(len(frac_N3))]


def cell_of_five():
    """Five equal cells of a triclinic crystal: translations of order five relate them."""
    _, lattice_33, frac_N3 = supercell(triclinic(), 5)
    return crystal("five", "Li Si O F " * 5, lattice_33, frac_N3)


@pytest.mark.parametrize("proper", [True, False])
@pytest.mark.parametrize(
    "one", [quartz(), mirror_site(), conventional(), cell_of_five()], ids=lambda one: one.id
)
def test_in_the_average_over_operations_they_are_exact(one, proper):
    numbers_N, lattice_33, frac_N3 = noisy(one, 5e-6)
    found = find_orbits(numbers_N, lattice_33, frac_N3)
    orbit_N = found.proper_N if proper else found.every_N
    assert np.array_equal(orbit_N, find_orbits(*parts(one))[0 if proper else 1])
    exact_33, exact_N3 = symmetrised(numbers_N, lattice_33, frac_N3, proper)
    before, after = lengths(lattice_33, frac_N3), lengths(exact_33, exact_N3)
    for site, first in enumerate(orbit_N):
        assert np.abs(after[site] - after[first]).max() < 1e-9
        assert np.abs(after[site] - before[site]).max() < 1e-4
    if proper and one.id == "quartz":
        assert max(np.abs(before[site] - before[0]).max() for site in (1, 2)) > 1e-6


def test_a_crystal_without_symmetry_stays_as_it_is():
    lattice_33, frac_N3 = symmetrised(*parts(triclinic()), proper=False)
    np.testing.assert_allclose(lattice_33, triclinic().lattice_33, rtol=0, atol=1e-13)
    np.testing.assert_allclose(frac_N3, triclinic().coords_N3, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("scale", "is_kept"), [(0.1 * EDGE_TOLERANCE, True), (1e-5, False)])
def test_orbits_with_unlike_edges_are_taken_apart(scale, is_kept):
    numbers_N, lattice_33, frac_N3 = noisy(quartz(), scale, seed=1)
    frac_N3 = frac_N3 - np.floor(frac_N3)
    edges = periodic_edges(lattice_33, frac_N3, 5.0)
    found = find_orbits(numbers_N, lattice_33, frac_N3)
    assert len(np.unique(found.proper_N)) == 2
    kept = with_like_edges(found, lattice_33, frac_N3, edges)
    assert len(np.unique(kept.proper_N)) == (2 if is_kept else 9)


def test_orbits_are_taken_apart_where_the_cutoff_tells_members_apart():
    """An image just within the cutoff of one site, its equivalent just beyond that of another."""
    numbers_N, lattice_33, frac_N3 = noisy(quartz(), 1e-7)
    frac_N3 = frac_N3 - np.floor(frac_N3)
    length_E = np.sort(np.concatenate(lengths(lattice_33, frac_N3)[:3]))
    cutoff = float(np.median(length_E[np.abs(length_E - length_E[-1]) < 1e-5]))
    edges = periodic_edges(lattice_33, frac_N3, cutoff)
    kept = with_like_edges(find_orbits(numbers_N, lattice_33, frac_N3), lattice_33, frac_N3, edges)
    assert kept.proper_N.tolist() == list(range(9))


def test_a_search_beyond_the_budget_gives_every_site_for_itself(monkeypatch, caplog):
    monkeypatch.setattr(module, "BUDGET", 50)
    with caplog.at_level("INFO"):
        found = find_orbits(*parts(quartz()))
    assert found.every_N.tolist() == found.proper_N.tolist() == list(range(9))
    assert "9 sites" in caplog.text


def by_spglib(numbers_N, lattice_33, frac_N3, proper, tolerance):
    """The first site of each orbit under spglib's operations."""
    found = spglib.get_symmetry((lattice_33, frac_N3, numbers_N), symprec=tolerance)
    label_N = np.arange(len(numbers_N))
    for rotation, translation in zip(found["rotations"], found["translations"], strict=True):
        if proper and np.linalg.det(rotation) < 0:
            continue
        difference = (frac_N3 @ rotation.T + translation)[:, None] - frac_N3
        distance = np.linalg.norm((difference - np.rint(difference)) @ lattice_33, axis=-1)
        distance[numbers_N[:, None] != numbers_N] = np.inf
        for one, other in enumerate(distance.argmin(1)):
            a, b = label_N[one], label_N[other]
            label_N[label_N == max(a, b)] = min(a, b)
    return label_N


def test_orbits_of_real_crystals_are_those_of_spglib(shared_data):
    """Wherever spglib finds the same within a third of the tolerance and within three times it."""
    table = pq.read_table(shared_data / "jarvis_dft_3d.parquet")
    compared = symmetric = 0
    for row in table.take(list(range(0, len(table), 20))).to_pylist():
        numbers_N = np.array(row["atomic_numbers"], np.int16)
        lattice_33 = np.reshape(row["lattice"], (3, 3))
        frac_N3 = np.reshape(row["frac_coords"], (-1, 3))
        found = find_orbits(numbers_N, lattice_33, frac_N3)
        for label_N, proper in zip(found, (True, False), strict=True):
            narrow_N, wide_N = (
                by_spglib(numbers_N, lattice_33, frac_N3, proper, factor * TOLERANCE)
                for factor in (1 / 3, 3)
            )
            if np.array_equal(narrow_N, wide_N):
                assert np.array_equal(label_N, wide_N), row["material_id"]
                compared += 1
                symmetric += len(np.unique(label_N)) < len(numbers_N)
    assert compared > 110 and symmetric > 60
