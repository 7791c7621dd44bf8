"""Settings of space groups: all 530 of spglib's table, by each of their names."""

import gemmi
import numpy as np
import pytest
import spglib
from helpers.cif import cif, record

from dglframer.data.sources.cif.operators import operators
from dglframer.data.sources.cif.settings import operators_of, settings_of_symbol, table
from dglframer.data.sources.cif.symmetry import type_number
from dglframer.structures.crystal import validate

pytestmark = pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")

SETTINGS = range(1, 531)
# New symbols with an e are alike for two settings each: only the choice of axes tells them apart.
LIKE_ANOTHER = {316, 317, 318, 319, 320, 321, 322, 323, 324, 325, 326, 327, 328, 329}
LIKE_ANOTHER |= {330, 331, 332, 333}


def spglib_operators(hall_number):
    """Rotations and translations of spglib's own table."""
    found = spglib.get_symmetry_from_database(hall_number)
    return found["rotations"], found["translations"]


def places(frac_N3) -> set[tuple[int, ...]]:
    """Positions in the cell, on a grid of 1e-5."""
    return {tuple(np.rint(frac * 100_000).astype(int) % 100_000) for frac in frac_N3}


def symmetric_metric(rotations):
    """The metric of a cell without symmetry of its own, made as symmetric as the rotations."""
    metric = np.array([[150.0, 25, 15], [25, 190, -20], [15, -20, 230]])
    return np.mean([R.T @ metric @ R for R in rotations], axis=0)


def cell_of(metric) -> tuple[float, ...]:
    """a, b, c and the angles."""
    lengths = np.sqrt(np.diag(metric))
    cosines = metric / np.outer(lengths, lengths)
    return (*lengths, *np.degrees(np.arccos([cosines[1, 2], cosines[0, 2], cosines[0, 1]])))


def closest(frac_N3, metric) -> float:
    offsets = frac_N3[:, None] - frac_N3
    offsets -= np.rint(offsets)
    distances = np.sqrt(np.einsum("ijk,kl,ijl->ij", offsets, metric, offsets))
    np.fill_diagonal(distances, 9)
    return distances.min()


def made_crystal(hall_number):
    """Metric, two sites (one general, one special) and all their images, by brute force."""
    rng = np.random.default_rng(hall_number)
    rotations, translations = spglib_operators(hall_number)
    metric = symmetric_metric(rotations)
    has_special = len(rotations) >= 8  # all groups with as many operators have special positions
    while True:
        sites = np.round(rng.random(3), 5), rng.integers(0, 24, 3) / 24
        all_images = [places(rotations @ site + translations) for site in sites]
        general, special = map(len, all_images)
        together = np.array([*all_images[0], *all_images[1]]) / 100_000
        good = general == len(rotations) and (special < general or not has_special)
        if good and closest(together, metric) > 0.55:
            return metric, sites, all_images


def stated(hall_number, **names):
    """A CIF of the made crystal, with the names and without operators; and the images."""
    metric, sites, all_images = made_crystal(hall_number)
    texts = [" ".join(f"{x:.8f}" for x in site) for site in sites]
    cell = [f"{value:.8f}" for value in cell_of(metric)]
    return cif(cell, [f"Cs {texts[0]}", f"F {texts[1]}"], **names), all_images


def found_places(record):
    crystal = validate(record)
    return [places(crystal.coords_N3[crystal.numbers_N == z]) for z in (55, 9)], len(
        crystal.numbers_N
    )


def spglib_name(hall_number) -> str:
    """The symbol of the setting with its choice, as spglib writes it."""
    row = spglib.get_spacegroup_type(hall_number)
    symbol = row.international.split("=")[-1].strip()
    return f"{symbol} :{row.choice}" if row.choice else symbol


def test_gemmi_and_spglib_have_the_same_530_settings():
    for hall_number in SETTINGS:
        setting = table()[hall_number - 1]
        rotations, translations = spglib_operators(hall_number)
        own = operators_of(setting.hall)
        for R, t in zip(rotations, translations, strict=True):
            near = (own.rotations_G33 == R).all((1, 2))
            off = own.translations_G3[near] - t
            assert (abs(off - np.rint(off)) < 1e-6).all(-1).sum() == 1
        assert len(own.key) == len(rotations)
        assert setting.number == spglib.get_spacegroup_type(hall_number).number


@pytest.mark.parametrize("hall_number", SETTINGS[::5])
def test_a_hall_symbol_gives_the_operators_of_the_table(tmp_path, hall_number):
    hall = spglib.get_spacegroup_type(hall_number).hall_symbol
    text, all_images = stated(hall_number, space_group_name_Hall=hall)
    found, count = found_places(record(tmp_path, text))
    assert found == all_images and count == sum(map(len, all_images))


@pytest.mark.parametrize("hall_number", [*SETTINGS[2::5], 433, 434, 458, 459, 525, 526])
def test_a_symbol_with_its_choice_gives_the_operators_of_the_table(tmp_path, hall_number):
    name = spglib_name(hall_number)
    text, all_images = stated(hall_number, symmetry_space_group_name_H__M=name)
    read = record(tmp_path, text)
    if len({operators_of(setting.hall).key for setting in settings_of_symbol(name)}) > 1:
        assert hall_number in LIKE_ANOTHER
        assert read.problem.startswith("the file does not say in which setting it is")
    else:
        found, count = found_places(read)
        assert found == all_images and count == sum(map(len, all_images))


def test_every_name_of_the_table_means_its_setting_and_few_others():
    for hall_number in SETTINGS:
        setting = table()[hall_number - 1]
        own = operators_of(setting.hall).key
        for name in (spglib_name(hall_number), setting.name, setting.name.replace(" ", "").upper()):
            found = settings_of_symbol(name)
            assert own in {operators_of(s.hall).key for s in found}, name
            assert {s.number for s in found} == {setting.number} or name.startswith(("B", "C"))
        keys = {operators_of(s.hall).key for s in settings_of_symbol(spglib_name(hall_number))}
        assert len(keys) == 1 or hall_number in LIKE_ANOTHER


@pytest.mark.parametrize(
    ("names", "settings"),
    [
        ("Fm3m; F m 3 m; FM-3M; F_m_-3_m; fm-3m", ["F m -3 m"]),
        ("F 4/m -3 2/m; F 4/m 3 2/m", ["F m -3 m"]),
        ("F d -3 m; Fd3m; F 41/d -3 2/m", ["F d -3 m :1", "F d -3 m :2"]),
        (
            "F d -3 m :2; Fd-3m:2; F d -3 m Z; Fd-3mZ; F D 3 M (origin choice 2); Fd-3m O2",
            ["F d -3 m :2"],
        ),
        ("F d -3 m S; F d -3 m : 1; FD3M:1", ["F d -3 m :1"]),
        ("R -3 m; R-3m; R -3 2/m", ["R -3 m :H", "R -3 m :R"]),
        ("R -3 m H; R-3m:H; R -3 m :h; R -3 m (hexagonal axes); H -3 m", ["R -3 m :H"]),
        ("R -3 m R; R-3mR; R-3m:r; R -3 2/m (rhombohedral axes)", ["R -3 m :R"]),
        ("P 21/c; P2(1)/c; P 2_1/c; P 1 21/c 1; P 2~1~/c; P2_1/c; P 2 1/c", ["P 1 21/c 1"]),
        ("P 21/n", ["P 1 21/n 1", "P 1 1 21/n"]),
        ("P 21; P2_1", ["P 1 21 1", "P 1 1 21"]),
        ("B 2/b", ["B 1 1 2/b"]),
        ("P 31 1 2; P3112", ["P 31 1 2"]),
        ("P 3 1 2; P312", ["P 3 1 2"]),
        ("P 31 2; P 6 33; Q m m m; Fm-3m3; nonsense", []),
        ("C m c a; Cmce; C m c e; C 2/m 2/c 2_1/e", ["C m c a"]),
        ("C m m e; Cmme", ["C m m a", "C m m b"]),
        ("P a 3; Pa-3; P a -3; P 21/a -3", ["P a -3"]),
        ("I 1", ["I 1"]),
        ("C -1", ["C -1"]),
        ("F 4/m m m", ["F 4/m m m"]),
        ("I 41/a m d :3; R -3 m :X", []),
    ],
)
def test_a_symbol_in_any_spelling(names, settings):
    for name in names.split("; "):
        found = settings_of_symbol(name)
        assert sorted(setting.name for setting in found) == sorted(settings), name


def test_the_type_of_operators_in_any_cell_is_known():
    """Another cell of the same lattice, and another origin."""
    rng = np.random.default_rng(3)
    for hall_number in (4, 81, 115, 228, 304, 434, 458, 500, 526):
        rotations, translations = spglib_operators(hall_number)
        P = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
        shift = rng.integers(0, 24, 3) / 24
        inverse = np.rint(np.linalg.inv(P)).astype(int)
        texts = []
        for R, t in zip(rotations, translations, strict=True):
            R2, t2 = inverse @ R @ P, inverse @ (t + R @ shift - shift)
            t24 = np.rint(t2 * 24).astype(int)
            rows = [
                "".join(f"{n:+d}*{axis}" for n, axis in zip(row, "xyz", strict=True) if n)
                for row in R2
            ]
            texts.append(", ".join(f"{row}{n:+d}/24" for row, n in zip(rows, t24, strict=True)))
        number = spglib.get_spacegroup_type(hall_number).number
        assert type_number(operators(tuple(texts))) == number


def test_the_table_of_gemmi_is_as_long_as_expected():
    assert len(table()) == len(list(gemmi.spacegroup_table())) >= 530
