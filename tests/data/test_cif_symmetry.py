"""Symmetry of CIF files: known crystals from every way to state it, and a reason where it is unsure."""

import numpy as np
import pytest
from helpers.cif import (
    BISMUTH_HEXAGONAL,
    DIAMOND,
    FACE_CENTRING,
    IDENTITY,
    NUMBER,
    ROCKSALT,
    SALT,
    SILICON,
    SYMBOL,
    cif,
    content,
    record,
    told,
)

HALL, FORMULA, UNITS = "space_group_name_Hall", "chemical_formula_sum", "cell_formula_units_Z"
MULTIPLICITY = ("symmetry_multiplicity",)

ALL_OF_SALT = tuple(
    f"{'Na' if (x + y + z) % 2 == 0 else 'Cl'} {x / 2} {y / 2} {z / 2}"
    for x, y, z in np.ndindex(2, 2, 2)
)
BISMUTH_RHOMBOHEDRAL = (4.746, 4.746, 4.746, 57.23, 57.23, 57.23)
CALCITE = (4.9896, 4.9896, 17.061, 90, 90, 120)


@pytest.mark.parametrize(
    "names",
    [
        {SYMBOL: "F m -3 m"},
        {SYMBOL: "Fm3m"},
        {"space_group_name_H__M_alt": "FM-3M"},
        {"space_group.name_H__M_full": "F 4/m -3 2/m"},
        {"symmetry.space_group_name_H__M": "F_m_-3_m"},
        {"symmetry_space_group_name_Hall": "-F 4 2 3"},
        {HALL: "-f_4_2_3"},
        {"space_group_IT_number": "225"},
        {"space_group.IT_number": "225"},
        {NUMBER: "225", SYMBOL: "F m -3 m"},
        {SYMBOL: "?", NUMBER: "225"},
        {SYMBOL: "F m -3 m (a,b,c)", HALL: "-F 4 2 3"},
    ],
)
def test_rocksalt_by_each_name_of_its_group(tmp_path, names):
    assert told(record(tmp_path, cif(*SALT, **names))) == ROCKSALT


@pytest.mark.parametrize(
    ("cell", "site", "names", "answer"),
    [
        (SILICON, "Si 0 0 0", "F d -3 m :1", DIAMOND),
        (SILICON, "Si 0.125 0.125 0.125", "F d -3 m :2", DIAMOND),
        (SILICON, "Si 0.125 0.125 0.125", "Fd-3mZ", DIAMOND),
        (SILICON, "Si 0 0 0", "F d 3 m S", DIAMOND),
        (BISMUTH_HEXAGONAL, "Bi 0 0 0.234", "R -3 m :H", ({"Bi": 6}, 3.073, 108)),
        (BISMUTH_HEXAGONAL, "Bi 0 0 0.234", "R -3 m", ({"Bi": 6}, 3.073, 108)),
        (BISMUTH_HEXAGONAL, "Bi 0 0 0.234", "R-3mH", ({"Bi": 6}, 3.073, 108)),
        (BISMUTH_RHOMBOHEDRAL, "Bi 0.234 0.234 0.234", "R -3 m :R", ({"Bi": 2}, 3.073, 36)),
        (BISMUTH_RHOMBOHEDRAL, "Bi 0.234 0.234 0.234", "R -3 m", ({"Bi": 2}, 3.073, 36)),
        (BISMUTH_RHOMBOHEDRAL, "Bi 0.234 0.234 0.234", "R -3 m R", ({"Bi": 2}, 3.073, 36)),
    ],
)
def test_origins_and_axes_by_the_symbol_or_the_cell(tmp_path, cell, site, names, answer):
    text = cif(cell, [site], symmetry_space_group_name_H__M=names)
    assert told(record(tmp_path, text)) == answer


def test_the_number_and_the_cell_tell_the_axes(tmp_path):
    text = cif(BISMUTH_RHOMBOHEDRAL, ["Bi 0.234 0.234 0.234"], space_group_IT_number=166)
    assert told(record(tmp_path, text)) == ({"Bi": 2}, 3.073, 36)
    text = cif(
        SILICON,
        ["Si 0.125 0.125 0.125"],
        space_group_IT_number=227,
        space_group_IT_coordinate_system_code=2,
    )
    assert told(record(tmp_path, text)) == DIAMOND


def test_calcite_has_carbonate_of_the_known_bond(tmp_path):
    sites = ["Ca 0 0 0", "C 0 0 0.25", "O 0.2568 0 0.25"]
    text = cif(CALCITE, sites, symmetry_space_group_name_H__M="R -3 c :H", cell_formula_units_Z=6)
    elements, bond, _ = told(record(tmp_path, text))
    assert elements == {"Ca": 6, "C": 6, "O": 18}
    assert bond == pytest.approx(0.2568 * 4.9896, abs=1e-3)  # 1.281 angstrom


def test_a_perovskite_in_two_settings_of_one_group_is_one_crystal(tmp_path):
    """P n m a and P b n m: the axes in another order."""
    sites = {
        "Gd": (0.984, 0.063, 0.25),
        "Fe": (0, 0.5, 0),
        "O": (0.1, 0.467, 0.25),
        "N": (0.696, 0.302, 0.051),
    }
    found = []
    for symbol, order in (("P b n m", (0, 1, 2)), ("P n m a", (1, 2, 0))):
        cell = [(5.35, 5.61, 7.67)[k] for k in order]
        rows = [f"{el} {' '.join(str(xyz[k]) for k in order)}" for el, xyz in sites.items()]
        found.append(told(record(tmp_path, cif(cell, rows, space_group_name_H__M_alt=symbol))))
    assert found[0] == found[1]
    assert found[0][0] == {"Gd": 4, "Fe": 4, "O": 4, "N": 8}


@pytest.mark.parametrize("angle", ["beta", "gamma"])
def test_the_cell_tells_the_unique_axis_of_a_short_symbol(tmp_path, angle):
    cell = (5.0, 6.0, 7.0, 90, *((100, 90) if angle == "beta" else (90, 100)))
    text = cif(cell, ["C 0.1 0.2 0.3", "O 0.3 0.25 0.15"], symmetry_space_group_name_H__M="P 21/n")
    full = {"beta": "P 1 21/n 1", "gamma": "P 1 1 21/n"}[angle]
    same = cif(cell, ["C 0.1 0.2 0.3", "O 0.3 0.25 0.15"], symmetry_space_group_name_H__M=full)
    assert told(record(tmp_path, text)) == told(record(tmp_path, same))
    assert content(record(tmp_path, text)) == {"C": 4, "O": 4}


UNSURE = "the file does not say in which setting it is"


@pytest.mark.parametrize(
    ("cell", "site", "names"),
    [
        (SILICON, "Si 0.125 0.125 0.125", {SYMBOL: "F d -3 m"}),
        (SILICON, "Si 0.125 0.125 0.125", {"space_group_IT_number": 227}),
        (
            SILICON,
            "Si 0 0 0",
            {SYMBOL: "Fd3m", FORMULA: "Si"},
        ),
        ((5, 6, 7), "C 0.1 0.2 0.3", {"space_group_IT_number": 62}),
        ((5, 6, 7, 90, 100, 90), "C 0.1 0.2 0.3", {"space_group_IT_number": 14}),
        ((5, 6, 7), "C 0.1 0.2 0.3", {SYMBOL: "P 21"}),
        ((5, 6, 7), "C 0.1 0.2 0.3", {SYMBOL: "C m m e"}),
    ],
)
def test_a_choice_that_nothing_decides_is_refused(tmp_path, cell, site, names):
    assert record(tmp_path, cif(cell, [site], **names)).problem.startswith(UNSURE)


@pytest.mark.parametrize(
    "more",
    [
        {FORMULA: "Si", UNITS: 8},
        {"exptl_crystal_density_diffrn": 2.33},
        {"chemical_formula_weight": 28.086, UNITS: 8},
        {"columns": MULTIPLICITY, "row": " 8"},
        {"columns": ("site_symmetry_order",), "row": " 24"},
        {"columns": ("Wyckoff_symbol",), "row": " 8a"},
    ],
)
def test_formula_density_and_multiplicities_decide_between_origins(tmp_path, more):
    more = dict(more)
    row = "Si 0.125 0.125 0.125" + more.pop("row", "")
    text = cif(SILICON, [row], symmetry_space_group_name_H__M="F d -3 m", **more)
    assert told(record(tmp_path, text)) == DIAMOND


@pytest.mark.parametrize(
    ("formula", "contents"), [("Cu2 Mg", {"Mg": 8, "Cu": 16}), ("Cu Mg2", {"Mg": 16, "Cu": 8})]
)
def test_the_formula_alone_decides_where_the_elements_would_swap(tmp_path, formula, contents):
    """A Laves phase: with the origin at the centre the site on 1/8 has 8 atoms, otherwise 16."""
    sites = ["Mg 0.125 0.125 0.125", "Cu 0.5 0.5 0.5"]
    text = cif((7.034,) * 3, sites, space_group_IT_number=227, chemical_formula_sum=formula)
    elements, closest, _ = told(record(tmp_path, text))
    assert elements == contents and closest == round(7.034 * 2**0.5 / 4, 3)
    text = cif((7.034,) * 3, sites, space_group_IT_number=227)
    assert record(tmp_path, text).problem.startswith(UNSURE)


def test_a_setting_with_atoms_in_one_place_is_none(tmp_path):
    """Spinel: with the other origin images of the oxygen would be 0.28 angstrom apart."""
    sites = ["Mg 0.125 0.125 0.125", "Al 0.5 0.5 0.5", "O 0.2624 0.2624 0.2624"]
    text = cif((8.08,) * 3, sites, space_group_IT_number=227)
    elements, closest, _ = told(record(tmp_path, text))
    assert elements == {"Mg": 8, "Al": 16, "O": 32}
    assert closest == pytest.approx(1.92, abs=0.01)  # Al-O of the mineral
    text = cif((8.08,) * 3, sites, space_group_IT_number=227, chemical_formula_sum="Al Mg2 O4")
    assert "two images of site O3 are 0.28 angstrom apart" in record(tmp_path, text).problem


UNSTATED = (
    "_symmetry_space_group_name_h-m is given, but no operators, symbol or number of a space group, and "
    "nothing confirms P 1"
)
CONTRADICTIONS = [
    # P 1 against what else is said
    ({SYMBOL: "P 1", NUMBER: 225}, "P 1 and number 225 contradict"),
    ({SYMBOL: "P 1", FORMULA: "Cl Na", UNITS: 4}, "P 1: the cell has 1 formulas"),
    ({SYMBOL: "P 1", "exptl_crystal_density_diffrn": 2.16}, "P 1: the sites of a cell have a mass"),
    ({SYMBOL: "P 1", "columns": MULTIPLICITY, "rows": " 4"}, "P 1: site Na1: 1 images"),
    ({"operators": IDENTITY, "columns": MULTIPLICITY, "rows": " 4"}, "site Na1: 1 images"),
    ({"operators": IDENTITY, "columns": ("Wyckoff_symbol",), "rows": " 4a"}, "site Na1: 1 images"),
    ({"operators": IDENTITY, FORMULA: "Cl Na", UNITS: 4}, "the cell has 1 formulas"),
    ({"operators": IDENTITY, FORMULA: "Cl4 Na4"}, "the cell has 0.25 formulas"),
    ({"operators": IDENTITY, SYMBOL: "F m -3 m"}, "the listed operator contradicts F m -3 m"),
    ({"operators": IDENTITY, NUMBER: 225}, "the listed operator contradicts number 225"),
    ({"operators": IDENTITY, HALL: "-F 4 2 3"}, "the listed operator contradicts -F 4 2 3"),
    ({"operators": IDENTITY, SYMBOL: "F m 3 m 1 x"}, "the listed operator contradicts the symbol"),
    # other lists and names
    (
        {"operators": FACE_CENTRING, SYMBOL: "F m -3 m"},
        "the 4 listed operators contradict F m -3 m",
    ),
    ({"operators": FACE_CENTRING, NUMBER: 225}, "the 4 listed operators contradict number 225"),
    ({"operators": FACE_CENTRING[:3]}, "the 3 operators are not a group"),
    ({"operators": FACE_CENTRING[1:]}, "the 3 operators do not include x, y, z"),
    ({SYMBOL: "F m -3 m", NUMBER: 227}, "F m -3 m and number 227 contradict"),
    ({SYMBOL: "F m -3 m", HALL: "-P 4 2 3"}, "F m -3 m and -P 4 2 3 contradict"),
    ({SYMBOL: "R -3 m", FORMULA: "Cl Na", UNITS: 4}, "no setting fits: R -3 m :H: the operators"),
    ({SYMBOL: "P 6/m m m"}, "P 6/m m m: the operators do not fit the cell"),
    ({SYMBOL: "F m -3 m", UNITS: 8, FORMULA: "Na Cl"}, "F m -3 m: the cell has 4 formulas"),
    (
        {SYMBOL: "F m -3 m", "cell_volume": 300},
        "the cell has 179.41 cubic angstrom, stated are 300",
    ),
    # names that say too little
    ({SYMBOL: "Fm4m"}, "no operators are listed, and no table has the symbol 'Fm4m'"),
    ({SYMBOL: "Fm4m", NUMBER: 225}, "no operators are listed, and no table has"),
    ({"space_group_IT_number": 231}, "there is no space group number 231"),
    ({"space_group_IT_number": "x"}, "_space_group_it_number is not a number"),
    ({SYMBOL: "?", "space_group_IT_number": "."}, UNSTATED),
    ({"symmetry_cell_setting": "cubic"}, UNSTATED.replace("space_group_name_h-m", "cell_setting")),
    (
        {"symmetry_cell_setting": "cubic", FORMULA: "Na Cl", UNITS: 4},
        "_symmetry_cell_setting is given",
    ),
    ({"space_group_magn.number_BNS": "62.448"}, "_space_group_magn_number_bns is given, but no"),
    ({"parent_space_group.IT_number": 225}, "_parent_space_group_it_number is given, but no"),
    (
        {FORMULA: "Na Cl", UNITS: 4},
        "no operators, symbol or number of a space group, and P 1: the cell",
    ),
    ({"space_group_IT_number": 225, NUMBER: 227}, "two space group numbers"),
    # operators that are none
    ({"operators": ("x,y,z", "x,y")}, "operator 'x,y' is not of the form"),
    ({"operators": ("x,y,z", "-x,-y,z+w")}, "operator '-x,-y,z+w' is not of the form"),
    ({"operators": ("x,y,z", "x,x,z")}, "operator 'x,x,z' does not keep volumes"),
    ({"operators": ("x,y,z", "x/2,2y,z")}, "operator 'x/2,2y,z'"),
    ({"operators": ("x,y,z", "-x,-y,z+1/0")}, "operator '-x,-y,z+1/0' divides by zero"),
    ({"operators": ("x,y,z", "h,k,l")}, "operator 'h,k,l' is not of the form"),
]


@pytest.mark.parametrize(("names", "reason"), CONTRADICTIONS)
def test_symmetry_that_contradicts_the_rest_is_refused(tmp_path, names, reason):
    names = dict(names)
    end = names.pop("rows", "")
    text = cif(SALT[0], [row + end for row in SALT[1]], **names)
    read = record(tmp_path, text)
    assert read.problem.startswith(reason) and not len(read.species)


def test_the_reason_says_what_the_contents_agree_with(tmp_path):
    more = {FORMULA: "Cl Na", UNITS: 4}
    text = cif(*SALT, operators=IDENTITY, symmetry_space_group_name_H__M="F m -3 m", **more)
    assert record(tmp_path, text).problem.endswith("; the contents agree with F m -3 m")


def test_all_atoms_under_the_symbol_of_the_crystal_are_taken_if_the_formula_confirms_them(tmp_path):
    """As jarvis-tools writes: x, y, z alone, with the symbol and the number of the crystal."""
    names = {SYMBOL: "Fm-3m", NUMBER: 225}
    text = cif(SALT[0], ALL_OF_SALT, operators=IDENTITY, **names)
    assert record(tmp_path, text).problem.startswith("the listed operator contradicts Fm-3m")
    text = cif(
        SALT[0],
        ALL_OF_SALT,
        operators=IDENTITY,
        chemical_formula_sum="Na4Cl4",
        cell_formula_units_Z=4,
        **names,
    )
    assert told(record(tmp_path, text)) == ROCKSALT


def test_p_1_is_what_the_dictionary_supposes_where_nothing_is_stated(tmp_path):
    cell, sites = (4.12,) * 3, ["Cs 0 0 0", "Cl 0.5 0.5 0.5"]
    salt = ({"Cs": 1, "Cl": 1}, 3.568, 28)
    assert told(record(tmp_path, cif(cell, sites))) == salt
    text = cif(cell, sites, symmetry_cell_setting="cubic", **{FORMULA: "Cl Cs", UNITS: 1})
    assert told(record(tmp_path, text)) == salt  # formula and Z confirm it
