"""Sites of CIF files: each row is one atom with its element, or the file is refused with a reason."""

import pytest
from helpers.cif import IDENTITY, cif, content, record, told

MISSING = "hydrogen positions missing: sites Na1 O1, formula"
FORMULA, UNITS = "chemical_formula_sum", "cell_formula_units_Z"
CELL = (5.0, 5.0, 5.0)
PAIR = ("0 0 0", "0.5 0.5 0.5")


def pair(first, second="O", *, labels=None, columns=(), ends=("", ""), **items) -> str:
    """Two sites of P 1 by their types; ``labels`` instead of types; ``ends``: the further columns."""
    rows = [
        f"{kind} {place} {end}"
        for kind, place, end in zip((first, second), PAIR, ends, strict=True)
    ]
    text = cif(CELL, rows, operators=IDENTITY, columns=columns, **items)
    if labels:
        text = text.replace("_atom_site_type_symbol\n", "")
        for row, label in zip((f"{first}1 {first} ", f"{second}2 {second} "), labels, strict=True):
            text = text.replace(f"\n{row}", f"\n{label} ")
    return text


@pytest.mark.parametrize(
    ("kind", "symbol"),
    [
        *(("Na", "Na"), ("Na1+", "Na"), ("Na+", "Na"), ("Na+1", "Na"), ("NA", "Na"), ("na", "Na")),
        *(
            ("Ca2+", "Ca"),
            ("O2-", "O"),
            ("Fe2.5+", "Fe"),
            ("Si0+", "Si"),
            ("CL", "Cl"),
            ("CL-", "Cl"),
        ),
        *(
            ("D", "H"),
            ("T", "H"),
            ("2H", "H"),
            ("^2^H", "H"),
            ("3H", "H"),
            ("1H", "H"),
            ("D+", "H"),
        ),
        *(("7Li", "Li"), ("11B", "B"), ("57Fe", "Fe"), ("235U", "U"), ("Co", "Co"), ("Cs", "Cs")),
    ],
)
def test_types_are_elements_with_charges_and_masses(tmp_path, kind, symbol):
    assert content(record(tmp_path, pair(kind, "S"))) == {symbol: 1, "S": 1}


@pytest.mark.parametrize(
    "kind",
    [
        *("OH", "H2O", "Wat", "WAT", "NH4", "CH3", "OW", "Ow", "Va", "Vac", "X", "Xx", "Du", "Q"),
        *("M", "A", "Cn", "4H", "99Na", "Fe/Co", "Fe,Co", "(Fe,Co)", "Fe0.5Co0.5", "Es", "No"),
        *("14", "Na1+2", "O-H", "CH", "Ph"),
    ],
)  # fmt: skip
def test_types_that_are_no_element_are_refused(tmp_path, kind):
    problem = record(tmp_path, pair(kind)).problem
    assert problem == f"site {kind}1: its type {kind!r} is no element (a group, a vacancy?)"


@pytest.mark.parametrize(
    ("kind", "formula", "answer"),
    [
        ("CO", None, "it may be Co, and there is no formula that confirms it"),
        ("CO", "Co O", {"Co": 1, "O": 1}),
        ("CO", "C O2", "it may be Co, and the formula does not decide"),
        ("H2", None, "it may be H, and there is no formula that confirms it"),
        ("H2", "H O", {"H": 1, "O": 1}),
        ("H2", "H2 O", "sites H1 O1, formula H2 O1"),
    ],
)
def test_types_with_two_meanings_need_the_formula(tmp_path, kind, formula, answer):
    more = {FORMULA: formula} if formula else {}
    read = record(tmp_path, pair(kind, **more))
    assert (read.problem or content(read)) == answer or (
        read.problem and read.problem.endswith(answer)
    )


@pytest.mark.parametrize(
    ("label", "formula", "answer"),
    [
        *(("Na1", None, "Na"), ("C1A", None, "C"), ("Ca12", None, "Ca"), ("Fe1+", None, "Fe")),
        ("O1*", None, "O"),
        ("CA1", "Ca O", "Ca"),
        ("CA1", "C O", "C"),
        ("CA1", None, "site CA1: it may be Ca or C, and there is no formula"),
        ("CA1", "C Ca O", "site CA1: it may be Ca or C, and the formula does not decide"),
        ("SiT1", "Si O", "Si"),
        ("SiT1", None, "site SiT1: it may be Si, and"),
        ("D1", "H O", "H"),
        ("Va1", None, "site Va1: it may be V, and there is no formula"),
        ("Va1", "Fe O", "site Va1: it may be V, and the formula does not decide"),
        ("Wat1", "H2 O2", "site Wat1: it may be W, and the formula does not decide"),
        ("OH1", None, "site OH1: it may be O, and there is no formula"),
        ("OH1", "H O2", "hydrogen positions missing: sites O1, formula H1 O2"),
        ("O-H", None, "site O-H: it may be O, and there is no formula"),
        ("O1H", None, "site O1H: it may be O, and there is no formula"),
        ("X1", None, "site X1: it has no type, and its label begins with no element"),
        ("1", None, "site 1: it has no type, and its label begins with no element"),
    ],
)  # fmt: skip
def test_labels_stand_for_types_where_they_can_be_read_in_one_way(tmp_path, label, formula, answer):
    more = {FORMULA: formula} if formula else {}
    read = record(tmp_path, pair("Xx", labels=(label, "O9"), **more))
    if " " in answer:
        assert read.problem.startswith(answer)
    else:
        assert content(read) == ({answer: 1, "O": 1} if answer != "O" else {"O": 2})


@pytest.mark.parametrize("kind", ["?", "."])
def test_a_null_type_is_read_from_the_label(tmp_path, kind):
    text = pair("Na").replace("Na1 Na ", f"Na1 {kind} ")
    assert content(record(tmp_path, text)) == {"Na": 1, "O": 1}


@pytest.mark.parametrize(
    ("occupancy", "reason"),
    [
        *((".", ""), ("1", ""), ("1.", ""), ("1.000(2)", ""), ("1.0000", ""), ("0.9999", "")),
        ("0.5", "partial occupancy (disordered structure): 0.5 of site Na1"),
        ("0.98(2)", "partial occupancy (disordered structure): 0.98 of site Na1"),
        ("1.05", "partial occupancy (disordered structure): 1.05 of site Na1"),
        ("0", "partial occupancy (disordered structure): 0 of site Na1"),
        ("?", "site Na1: its occupancy is unknown (?)"),
        ("full", "site Na1: its occupancy is not a number: 'full'"),
    ],
)
def test_occupancies(tmp_path, occupancy, reason):
    text = pair("Na", columns=("occupancy",), ends=(occupancy, "1"))
    assert record(tmp_path, text).problem == reason


def test_an_unknown_occupancy_is_full_where_the_formula_confirms_it(tmp_path):
    text = pair("Na", columns=("occupancy",), ends=("?", "?"), chemical_formula_sum="Na O")
    assert content(record(tmp_path, text)) == {"Na": 1, "O": 1}


def test_a_flag_of_partial_occupancy_without_its_number_is_refused(tmp_path):
    text = pair("Na", columns=("refinement_flags_occupancy",), ends=("P", "."))
    assert "flag P of site Na1" in record(tmp_path, text).problem


@pytest.mark.parametrize(
    ("columns", "ends", "reason"),
    [
        (("attached_hydrogens",), ("0", "2"), "hydrogen positions missing: 2 attached to site O2"),
        (("attached_hydrogens",), ("0", "x"), "site O2: its attached hydrogens is not a number"),
        (("attached_hydrogens",), (".", "?"), ""),
        (("calc_flag",), ("d", "calc"), ""),
        (("calc_flag",), ("dum", "DUM"), "cannot be read: no atom sites but dummies"),
        (("disorder_group",), ("1", "2"), "disordered: alternative sites (groups 1, 2)"),
        (
            ("disorder_group",),
            ("1", "-1"),
            "disordered about a special position (site O2, group -1)",
        ),
        (("disorder_group",), (".", "."), ""),
        (("disorder_group",), ("0", "."), ""),
        (("disorder_group",), ("1", "1"), ""),
        (("disorder_assembly", "disorder_group"), ("A 1", "B 1"), ""),
        (("disorder_assembly", "disorder_group"), ("A 1", "A 2"), "disordered: alternative sites"),
    ],
)
def test_flags_of_the_rows(tmp_path, columns, ends, reason):
    problem = record(tmp_path, pair("Na", columns=columns, ends=ends)).problem
    assert problem.startswith(reason) and bool(problem) == bool(reason)


def test_a_dummy_is_no_atom_whatever_its_type(tmp_path):
    text = pair("Na", columns=("calc_flag",), ends=("d", "d")) + "Cg1 Cg 0.25 0.25 0.25 dum\n"
    assert content(record(tmp_path, text)) == {"Na": 1, "O": 1}


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (". . .", "site Na1: its x is not given (.)"),
        ("? ? ?", "site Na1: its x is unknown (?)"),
        ("0 0 .", "site Na1: its z is not given (.)"),
        ("0 1/2 0", "site Na1: its y is not a number: '1/2'"),
        ("0,5 0 0", "site Na1: its x is not a number: '0,5'"),
        ("nan 0 0", "site Na1: its x is not a number: 'nan'"),
        ("1e999 0 0", "site Na1: its x is not a number: '1e999'"),
        ("0.1(2) -.25 3.e-1", ""),
    ],
)
def test_coordinates(tmp_path, place, reason):
    text = pair("Na").replace("Na1 Na 0 0 0", f"Na1 Na {place}")
    assert record(tmp_path, text).problem == reason


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ({FORMULA: "H Na O"}, MISSING + " H1 Na1 O1"),
        ({FORMULA: "D Na O"}, MISSING + " H1 Na1 O1"),
        ({FORMULA: "C Na O"}, "sites Na1 O1, formula C1 Na1 O1"),
        ({FORMULA: "Na2 O"}, "sites Na1 O1, formula Na2 O1"),
        ({FORMULA: "Na"}, "sites Na1 O1, formula Na1"),
        ({FORMULA: "Na0.95 O"}, "sites Na1 O1, formula Na0.95 O1"),
        ({FORMULA: "Na O", UNITS: 2}, "the cell has 1 formulas Na1 O1, stated is"),
        ({FORMULA: "Na2 O2"}, "the cell has 0.5 formulas Na2 O2"),
        ({FORMULA: "sodium oxide"}, "formula 'sodium oxide' cannot be read"),
        ({FORMULA: "Na O, 2(H2 O)"}, "formula 'Na O, 2(H2 O)' cannot be read"),
        ({"chemical_formula_structural": "Na O H"}, MISSING + " H Na O"),
        ({"chemical_formula_moiety": "Na 1+, H O 1-"}, MISSING + " H Na O"),
        ({"chemical_formula_weight": 40.0, UNITS: 1}, "the sites of a cell have a mass of 38.99 u"),
        ({"exptl_crystal_density_diffrn": 1.04}, "the sites of a cell have a mass of 38.99 u"),
        ({FORMULA: "Na O"}, ""),
        ({FORMULA: "NaO"}, ""),
        ({FORMULA: "Na1 O1"}, ""),
        ({FORMULA: "Na0.5 O0.5"}, ""),
        ({FORMULA: "Na O 1-"}, ""),
        ({"chemical_formula_structural": "(Na O)"}, ""),
        ({"chemical_formula_moiety": "sodium with oxygen, in words"}, ""),
        ({"chemical_formula_weight": 38.99, UNITS: 1}, ""),
        ({"exptl_crystal_density_diffrn": 0.518}, ""),
    ],
)  # fmt: skip
def test_sites_have_to_be_those_of_the_formula(tmp_path, items, reason):
    problem = record(tmp_path, pair("Na", **items)).problem
    assert problem.startswith(reason) and bool(problem) == bool(reason)


def test_heavy_water_has_its_own_weight(tmp_path):
    sites = ["D 0 0 0", "D 0.3 0 0", "O 0.15 0.12 0"]
    text = cif(
        (5, 5, 5), sites, operators=IDENTITY, chemical_formula_weight=20.03, cell_formula_units_Z=1
    )
    assert content(record(tmp_path, text)) == {"H": 2, "O": 1}


def test_contents_of_the_cell_as_the_formula_go_with_z_of_the_reduced_one(tmp_path):
    """As pymatgen and jarvis-tools write."""
    sites = ["Cs 0 0 0", "Cs 0 0 0.5", "Cl 0.5 0.5 0.25", "Cl 0.5 0.5 0.75"]
    for units, reason in (
        (2, ""),
        (1, ""),
        (4, "the cell has 1 formulas Cl2 Cs2, stated is Z = 4"),
    ):
        text = cif(
            (4, 4, 8),
            sites,
            operators=IDENTITY,
            chemical_formula_sum="Cs2 Cl2",
            cell_formula_units_Z=units,
        )
        assert record(tmp_path, text).problem == reason


THREEFOLD = ("x,y,z", "-y,x-y,z", "-x+y,-x,z")
P63MC = "P 63 m c"


@pytest.mark.parametrize("edge", [3.25, 5.0, 8.0, 12.0, 20.0])
@pytest.mark.parametrize(
    "third",
    ["0.33 0.67", "0.33 0.66", "0.333 0.667", "0.333 0.666", "0.3333 0.6667", "0.33333 0.66667"],
)
def test_rounded_thirds_are_one_atom_or_refused(tmp_path, third, edge):
    """Wurtzite: two atoms of each element, however the thirds are rounded."""
    sites = [f"Zn {third} 0", f"O {third} 0.382"]
    cell = (edge, edge, 1.6 * edge, 90, 90, 120)
    read = record(tmp_path, cif(cell, sites, symmetry_space_group_name_H__M=P63MC))
    if read.problem:
        assert "images" in read.problem and edge > 5 and len(third) == 9  # two digits
    else:
        elements, bond, _ = told(read)
        assert elements == {"Zn": 2, "O": 2}
        if edge == 3.25:
            exact = cif(cell, [s.replace(third, "0.3333333333 0.6666666667") for s in sites],
                        symmetry_space_group_name_H__M=P63MC)  # fmt: skip
            assert bond == told(record(tmp_path, exact))[1]  # moved onto the threefold axis


@pytest.mark.parametrize("off", [0.012, 0.02, 0.04])
def test_images_between_merged_and_apart_are_refused(tmp_path, off):
    """An atom 0.07 to 0.24 angstrom off a threefold axis would be three, 0.12 to 0.42 apart."""
    text = cif(
        (6, 6, 6, 90, 90, 120), [f"Zn {1 / 3 + off} {2 / 3} 0.1", "O 0 0 0"], operators=THREEFOLD
    )
    assert "two images of site Zn1 are" in record(tmp_path, text).problem


def test_a_site_far_from_the_axis_has_all_its_images(tmp_path):
    text = cif((6, 6, 6, 90, 90, 120), ["Zn 0.5 0.2 0.1", "O 0 0 0"], operators=THREEFOLD)
    assert content(record(tmp_path, text)) == {"Zn": 3, "O": 1}


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ("Br 0.55 0.5 0.5", "sites Cl2 and Br3 are 0.25 angstrom apart"),
        ("Cl 0.5 0.5 0.5", "sites Cl2 and Cl3 are 0.00 angstrom apart"),
        ("Cl 1.5 -0.5 0.5", "sites Cl2 and Cl3 are 0.00 angstrom apart"),
        ("Br 0.7 0.5 0.5", ""),
    ],
)
def test_two_rows_in_one_place_are_refused(tmp_path, second, reason):
    text = cif(CELL, ["Cs 0 0 0", "Cl 0.5 0.5 0.5", second], operators=IDENTITY)
    assert record(tmp_path, text).problem == reason


def test_rows_that_symmetry_repeats_are_refused(tmp_path):
    """All atoms of the cell, with the operators that would make each of them again."""
    text = cif(CELL, ["Cs 0 0 0", "Cs 0.5 0.5 0.5"], symmetry_space_group_name_H__M="I m -3 m")
    assert record(tmp_path, text).problem == "I m -3 m: sites Cs1 and Cs2 are 0.00 angstrom apart"


@pytest.mark.parametrize(
    ("columns", "ends", "reason"),
    [
        (("symmetry_multiplicity",), ("1", "1"), ""),
        (
            ("symmetry_multiplicity",),
            ("2", "1"),
            "site Na1: 1 images, stated is a multiplicity of 2",
        ),
        (("site_symmetry_order",), ("1", "1"), ""),
        (("site_symmetry_order",), ("1", "2"), "site O2: a symmetry of order 1, stated is 2"),
        (("Wyckoff_symbol",), ("a", "1a"), ""),
        (("Wyckoff_symbol",), ("a", "4a"), "site O2: 1 images, stated is a position of 4"),
        (("Wyckoff_symbol",), ("a", "b"), "site O2: P 1 has one position, a, and not b"),
        (("Wyckoff_label",), ("?", "."), ""),
    ],
)
def test_multiplicities(tmp_path, columns, ends, reason):
    assert record(tmp_path, pair("Na", columns=columns, ends=ends)).problem == reason


def test_multiplicities_in_the_sense_of_shelxl_97(tmp_path):
    """The order of the site symmetry under the name of the multiplicity: 1 on a general position."""
    for ends, reason in ((("1", "2"), ""), (("2", "1"), ""), (("2", "2"), "site O2: 1 images")):
        rows = [f"Na 0.1 0.2 0.3 {ends[0]}", f"O 0.5 0.5 0.5 {ends[1]}"]
        text = cif(CELL, rows, operators=("x,y,z", "-x,-y,-z"), columns=("symmetry_multiplicity",))
        assert record(tmp_path, text).problem.startswith(reason)
