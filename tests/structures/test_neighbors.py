"""The neighbour search against independent references, and the invariances it promises."""

import numpy as np
import pytest
from helpers.paths import EXPECTED, STRUCTURES, needs_shared
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dglframer.common.errors import Rejected
from dglframer.structures.neighbors import edge_vectors, periodic_edges, wrapped


def brute_force(lattice_33, frac_N3, cutoff, centres=None):
    """Rows (i, j, n) of all |(f_j + n - f_i) L| <= cutoff, tried over a box that is large enough."""
    frac_N3 = wrapped(frac_N3)
    plane_spacings = 1 / np.linalg.norm(np.linalg.inv(lattice_33), axis=0)
    reach = np.ceil(cutoff / plane_spacings).astype(int) + 1
    axes = [np.arange(-k, k + 1) for k in reach]
    images = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    rows = []
    for i in range(len(frac_N3)) if centres is None else centres:
        r_NM3 = (frac_N3[:, None] + images - frac_N3[i]) @ lattice_33
        j, m = np.nonzero(np.linalg.norm(r_NM3, axis=2) <= cutoff + 1e-8)
        rows.append(np.column_stack([np.full(len(j), i), j, images[m]]))
    return np.concatenate(rows)


def as_rows(edges):
    """The edges as rows (i, j, n), in their own order."""
    return np.column_stack([edges.dst_E, edges.src_E, edges.image_E3])


def assert_same_edges(lattice_33, frac_N3, cutoff):
    lattice_33, frac_N3 = np.array(lattice_33, float), np.array(frac_N3, float)
    edges = periodic_edges(lattice_33, frac_N3, cutoff)
    np.testing.assert_array_equal(as_rows(edges), brute_force(lattice_33, frac_N3, cutoff))
    return edges


def cell(a, b, c, alpha=90.0, beta=90.0, gamma=90.0):
    """Lattice vectors from lengths and angles."""
    ca, cb, cg = np.cos(np.deg2rad([alpha, beta, gamma]))
    sg = np.sin(np.deg2rad(gamma))
    y = (ca - cb * cg) / sg
    return np.array(
        [[a, 0, 0], [b * cg, b * sg, 0], [c * cb, c * y, c * np.sqrt(1 - cb**2 - y**2)]]
    )


ORIGIN = [[0.0, 0.0, 0.0]]
PAIR = [[0.1, 0.2, 0.3], [0.55, 0.9, 0.05]]
CASES = {
    "cubic": (cell(4, 4, 4), PAIR, 6.5),
    "hexagonal": (cell(3, 3, 5, gamma=120), [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]], 6.0),
    "left-handed": (cell(3, 4, 5, 80, 95, 100)[[1, 0, 2]], PAIR, 6.0),
    "angles of 5 degrees": (cell(12, 9, 7, alpha=5), PAIR, 4.0),
    "angles of 170 degrees": (cell(9, 9, 6, gamma=170), PAIR, 4.0),
    "three oblique angles": (cell(8, 8, 6, 170, 170, 13), PAIR, 4.0),
    "elongated": (cell(3, 3.5, 120), PAIR, 5.0),
    "an axis of 211 angstrom": (cell(211, 3.2, 3.2, gamma=120), PAIR, 8.4),
    "flat": (cell(60, 50, 2.2), PAIR, 5.0),
    "far outside": (cell(4, 5, 6, 70, 80, 100), [[17.3, -9.8, 4.01], [-3.0, 250.5, -0.75]], 5.0),
    "just below zero": (cell(4, 4, 4), [[-1e-17, 0.5, 1.0], [0.5, -1e-18, 0.3]], 5.0),
    "one atom": (cell(2.5, 2.5, 2.5, 60, 60, 60), ORIGIN, 7.0),
    "isolated atom": (cell(20, 20, 20), ORIGIN, 8.4),
    "four atoms": (cell(5, 6, 7, 75, 85, 95), [*PAIR, [0.8, 0.4, 0.6], [0.3, 0.6, 0.9]], 7.5),
}


@pytest.mark.parametrize("name", CASES)
def test_edges_are_those_of_brute_force(name):
    assert_same_edges(*CASES[name])


@pytest.mark.parametrize(
    ("lattice_33", "cutoff", "neighbours"),
    [
        (cell(4, 4, 4), 4.0, 6),
        (cell(0.7, 0.7, 0.7), 2.1, 122),  # 3 x 0.7 is 2.0999999999999996
        (cell(1.1, 1.1, 1.1), 3.3, 122),  # and 3 x 1.1 is 3.3000000000000003
        (cell(4, 4, 4), 4 * 2**0.5, 18),
        (cell(3, 3, 9, gamma=120), 3.0, 6),
        (2.0 * (np.ones((3, 3)) - np.eye(3)), 8**0.5, 12),  # fcc
    ],
)
def test_image_exactly_at_the_cutoff_is_an_edge(lattice_33, cutoff, neighbours):
    edges = assert_same_edges(lattice_33, ORIGIN, cutoff)
    assert len(edges.src_E) == 1 + neighbours


def test_edges_of_624_atoms_are_those_of_brute_force():
    """A framework, its coordinates up to 50 cells outside; every 26th atom as the centre."""
    random = np.random.default_rng(0)
    frac_N3 = random.random((624, 3)) + random.integers(-50, 50, (624, 3))
    lattice_33, centres = cell(21, 23, 25, 80, 95, 110), range(5, 624, 26)
    rows = as_rows(periodic_edges(lattice_33, frac_N3, 8.4))
    found = rows[np.isin(rows[:, 0], centres)]
    np.testing.assert_array_equal(found, brute_force(lattice_33, frac_N3, 8.4, centres))
    assert len(rows) > 80_000


def test_image_just_beyond_the_cutoff_is_none():
    assert len(periodic_edges(cell(4, 4, 4), np.array(ORIGIN), 4.0 - 1e-6).src_E) == 1


coordinates = st.floats(-3, 3, allow_subnormal=False)


@settings(max_examples=150)
@given(
    lattice_33=arrays(float, (3, 3), elements=st.floats(-6, 6, allow_subnormal=False)),
    frac_N3=st.integers(1, 3).flatmap(lambda n: arrays(float, (n, 3), elements=coordinates)),
    cutoff=st.floats(0.5, 6),
)
def test_edges_of_random_cells_are_those_of_brute_force(lattice_33, frac_N3, cutoff):
    assume(abs(np.linalg.det(lattice_33)) > 1)
    assume(1 / np.linalg.norm(np.linalg.inv(lattice_33), axis=0).max() > 0.5)
    assert_same_edges(lattice_33, frac_N3, cutoff)


@pytest.mark.parametrize("name", CASES)
def test_edges_are_sorted_and_typed_and_every_atom_has_its_self_edge(name):
    lattice_33, frac_N3, cutoff = CASES[name]
    edges = periodic_edges(lattice_33, np.array(frac_N3), cutoff)
    assert [column.dtype for column in edges] == [np.int32, np.int32, np.int8]
    rows = as_rows(edges).tolist()
    assert rows == sorted(rows) and len({tuple(row) for row in rows}) == len(rows)
    assert all([i, i, 0, 0, 0] in rows for i in range(len(frac_N3)))


@pytest.mark.parametrize("name", CASES)
def test_every_edge_has_its_reverse(name):
    lattice_33, frac_N3, cutoff = CASES[name]
    rows = as_rows(periodic_edges(lattice_33, np.array(frac_N3), cutoff)).tolist()
    assert {(j, i, -x, -y, -z) for i, j, x, y, z in rows} == {tuple(row) for row in rows}


@pytest.mark.parametrize("name", CASES)
def test_edge_vectors_point_from_centre_to_neighbour_within_the_cutoff(name):
    lattice_33, frac_N3, cutoff = CASES[name]
    frac_N3 = wrapped(np.array(frac_N3))
    edges = periodic_edges(lattice_33, frac_N3, cutoff)
    r_E3 = edge_vectors(lattice_33, frac_N3, edges)
    for (i, j, *n), r_3 in list(zip(as_rows(edges), r_E3, strict=True))[::7]:
        np.testing.assert_allclose(r_3, (frac_N3[j] + n - frac_N3[i]) @ lattice_33, atol=1e-12)
    assert np.linalg.norm(r_E3, axis=1).max() <= cutoff + 1e-7


@pytest.mark.parametrize("value", [-1e-17, 1.0, 0.0, -0.0, 1 - 1e-17, -3.0, 1e6 + 0.5])
def test_wrapped_coordinates_are_in_the_cell(value):
    frac = wrapped(np.full((1, 3), value))
    assert ((frac >= 0) & (frac < 1)).all()
    assert np.abs(np.sin(np.pi * (frac - value))).max() < 1e-9  # moved by whole cells


def rotation(seed):
    """A random proper rotation."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


@pytest.mark.parametrize("seed", range(3))
def test_rotation_leaves_the_edges_unchanged(triclinic, rocksalt, cscl_like, seed):
    for one in (triclinic, rocksalt, cscl_like):
        for cutoff in (5.64, 4.12, 6.0):  # the first two are shells of rocksalt and of cscl_like
            before = periodic_edges(one.lattice_33, one.coords_N3, cutoff)
            after = periodic_edges(one.lattice_33 @ rotation(seed), one.coords_N3, cutoff)
            np.testing.assert_array_equal(as_rows(before), as_rows(after))


def distances_by_atom(lattice_33, frac_N3, cutoff):
    """The sorted distances from each atom."""
    edges = periodic_edges(lattice_33, frac_N3, cutoff)
    d_E = np.linalg.norm(edge_vectors(lattice_33, wrapped(frac_N3), edges), axis=1)
    return [np.sort(d_E[edges.dst_E == i]) for i in range(len(frac_N3))]


@pytest.mark.parametrize("repeats", [(2, 1, 1), (1, 3, 1), (2, 2, 2)])
def test_supercell_has_the_same_distances(triclinic, repeats):
    one = distances_by_atom(triclinic.lattice_33, triclinic.coords_N3, 7.0)
    offsets = np.array(list(np.ndindex(*repeats)))
    frac_N3 = ((triclinic.coords_N3 + offsets[:, None]) / repeats).reshape(-1, 3)
    many = distances_by_atom(triclinic.lattice_33 * np.array(repeats)[:, None], frac_N3, 7.0)
    for copy, distances in enumerate(many):
        np.testing.assert_allclose(distances, one[copy % 4], atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_another_basis_of_the_lattice_has_the_same_distances(triclinic, seed):
    random = np.random.default_rng(seed)
    basis = np.eye(3, dtype=int)
    for _ in range(6):  # a product of shears is unimodular
        a, b = random.permutation(3)[:2]
        basis[a] += random.integers(-2, 3) * basis[b]
    assert round(np.linalg.det(basis)) == 1
    lattice_33 = basis @ triclinic.lattice_33
    frac_N3 = triclinic.coords_N3 @ np.linalg.inv(basis)
    expected = distances_by_atom(triclinic.lattice_33, triclinic.coords_N3, 7.0)
    for found, known in zip(distances_by_atom(lattice_33, frac_N3, 7.0), expected, strict=True):
        np.testing.assert_allclose(found, known, atol=1e-8)


def test_moving_an_atom_by_a_lattice_vector_changes_nothing(triclinic):
    moved = triclinic.coords_N3 + np.random.default_rng(0).integers(-9, 9, (4, 3))
    before = periodic_edges(triclinic.lattice_33, triclinic.coords_N3, 6.0)
    after = periodic_edges(triclinic.lattice_33, moved, 6.0)
    np.testing.assert_array_equal(as_rows(before), as_rows(after))


def test_cell_too_thin_for_int8_image_numbers_is_refused():
    with pytest.raises(Rejected, match="too thin"):
        periodic_edges(np.diag([0.05, 40.0, 40.0]), np.array(ORIGIN), 8.4)
    edges = periodic_edges(np.diag([0.25, 40.0, 40.0]), np.array(ORIGIN), 30.0)
    assert edges.image_E3[:, 0].tolist() == list(range(-120, 121))


@needs_shared
@pytest.mark.parametrize("name", [name for name in EXPECTED if EXPECTED[name].get("ordered")])
def test_edges_of_real_crystals_are_those_of_pymatgen(name):
    from pymatgen.core import Structure

    from dglframer.data.sources.structure_files import read_structure
    from dglframer.structures.crystal import validate

    record = read_structure(STRUCTURES / name)
    one = validate(record)
    structure = Structure(one.lattice_33, list(record.species), wrapped(one.coords_N3))
    i, j, n, _ = structure.get_neighbor_list(5.0)
    theirs = np.column_stack([i, j, n]).astype(int)
    edges = periodic_edges(one.lattice_33, one.coords_N3, 5.0)
    ours = as_rows(edges)
    is_self = (ours[:, 0] == ours[:, 1]) & ~ours[:, 2:].any(axis=1)
    assert is_self.sum() == len(one.numbers_N)
    order = np.lexsort(theirs.T[::-1])
    np.testing.assert_array_equal(ours[~is_self], theirs[order])
