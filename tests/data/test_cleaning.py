"""Cleaning: every doubt is found and told, and changes nothing unless it is asked to."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.cells import ROTATION, supercell
from helpers.paths import ROOT, SHARED, needs_shared

from dglframer.common.parquet import write_parquet, write_row_groups
from dglframer.config.data import CleaningConfig, DatasetConfig
from dglframer.data import cleaning, duplicates
from dglframer.data.cleaning import CHECKS_SCHEMA, check_crystals
from dglframer.data.crystals import crystals_table, validated
from dglframer.data.ids import source_id
from dglframer.data.label_limits import KNOWN, limits, plain_name, without_unit
from dglframer.data.rejections import Rejections
from dglframer.data.sources import open_source
from dglframer.data.sources.catalogue import ROWS
from dglframer.data.sources.parquet import ParquetSource

TARGET = "band_gap"  # known: 0 to 25 eV, two of one structure within 0.5


def written(path, crystals, targets=(TARGET,)):
    write_parquet(path, crystals_table(crystals, "x", targets, dict.fromkeys(targets, "eV")))
    return path


def gap(one, id, value):
    return replace(one, id=id, labels={TARGET: value})


@pytest.fixture
def doubtful(tmp_path, rocksalt, cscl_like, triclinic):
    """A structure three times, one of them as a supercell; an unphysical label; an id of two."""
    large = replace(
        rocksalt,
        **dict(zip(("numbers_N", "lattice_33", "coords_N3"), supercell(rocksalt, 2), strict=True)),
    )
    turned = replace(rocksalt, lattice_33=rocksalt.lattice_33 @ ROTATION)
    crystals = [
        gap(rocksalt, "a", 5.0),
        gap(large, "b", 5.1),
        gap(turned, "c", 5.2),
        gap(cscl_like, "d", -0.5),
        gap(cscl_like, "d#2", 0.25),
        gap(triclinic, "e", 3.0),
        gap(replace(triclinic, coords_N3=triclinic.coords_N3 * [1, 1, 0.5]), "e#2", 3.0),
    ]
    return written(tmp_path / "crystals.parquet", crystals)


def column(table, name):
    """The rows with a text in a column."""
    return {row["id"]: row[name] for row in table.to_pylist() if row[name]}


def test_doubts_are_found_and_nothing_is_dropped(doubtful):
    table = check_crystals(doubtful, CleaningConfig())
    assert table["id"].to_pylist() == pq.read_table(doubtful)["id"].to_pylist()
    assert column(table, "duplicate_of") == {"b": "a", "c": "a", "d#2": "d"}
    assert column(table, "unphysical") == {"d": "band_gap = -0.5 eV, outside 0 to 25"}
    text = "band_gap differs by 0.75 eV in one structure"
    assert column(table, "disagreement") == {
        "d": text,
        "d#2": text,
        "e": "e has 2 structures",
        "e#2": "e has 2 structures",
    }
    assert not column(table, "dropped")
    assert table["formula"].to_pylist() == ["NaCl"] * 3 + ["CsCl"] * 2 + ["LiSiOF"] * 2
    assert table["space_group"].to_pylist()[:5] == [225] * 3 + [221] * 2


@pytest.mark.parametrize(
    ("switch", "dropped"),
    [
        ("duplicates", {"b": "duplicate of a", "c": "duplicate of a", "d#2": "duplicate of d"}),
        ("unphysical_labels", {"d": "band_gap = -0.5 eV, outside 0 to 25"}),
        ("disagreements", set("d d#2 e e#2".split())),
    ],
)
def test_each_switch_drops_its_own(doubtful, switch, dropped):
    found = column(check_crystals(doubtful, CleaningConfig(**{switch: "drop"})), "dropped")
    assert found == dropped if isinstance(dropped, dict) else set(found) == dropped


def test_ignored_doubts_are_not_looked_for(doubtful, monkeypatch):
    def never(*_):
        raise AssertionError("searched")

    monkeypatch.setattr(cleaning, "find_duplicates", never)
    switches = dict.fromkeys(("duplicates", "unphysical_labels", "disagreements"), "ignore")
    table = check_crystals(doubtful, CleaningConfig(**switches))
    for name in ("duplicate_of", "unphysical", "disagreement", "dropped"):
        assert not column(table, name)
    assert table.schema.metadata[b"duplicates_searched"] == b"no"


def test_configured_limits_come_before_the_known_ones(doubtful):
    config = CleaningConfig(label_ranges={TARGET: (-1, 4)}, label_tolerances={TARGET: 0.1})
    table = check_crystals(doubtful, config)
    assert set(column(table, "unphysical")) == set("abc")
    assert {"a", "b", "c", "d"} <= set(column(table, "disagreement"))
    assert limits("unheard of", "K", config) == (-np.inf, np.inf, np.inf, "K")
    assert limits(TARGET, "eV", CleaningConfig()) == KNOWN[TARGET]
    assert limits(TARGET, "meV", CleaningConfig()) == (-np.inf, np.inf, np.inf, "meV")


# The words of properties with a known range, in whatever name.
KNOWN_WORDS = ("form", "delta_e", "gap", "modulus", "hull", "stability", "poisson")


def has_a_known_property(name):
    return any(word in name.lower() for word in KNOWN_WORDS)


def test_every_known_property_of_the_catalogue_has_a_range_and_a_unit():
    config = CleaningConfig()
    names = [(row.name, *target) for row in ROWS for target in row.targets.items()]
    known = [one for one in names if has_a_known_property(one[1])]
    assert len(known) > 30
    for source, name, unit in known:
        found = limits(name, unit, config)
        assert np.isfinite(found[:3]).all() and found.low < found.high, (source, name)
        stated = unit or ("GPa" if "modulus" in name else "")
        assert KNOWN[plain_name(name)].unit == stated, (source, name)


@needs_shared
def test_the_columns_of_real_data_have_ranges():
    names = {
        name: (field.metadata or {}).get(b"unit", b"").decode()
        for path in (SHARED / "data").glob("*.parquet")
        for field in pq.read_schema(path)
        for name in [field.name]
        if pa.types.is_floating(field.type) and has_a_known_property(name)
    }
    assert {"band_gap", "bulk_modulus_vrh", "poisson_ratio"} <= set(names)
    for name, unit in names.items():
        assert np.isfinite(limits(name, unit, CleaningConfig())[:3]).all(), (name, unit)


@pytest.mark.parametrize(
    "name", ["bulk_modulus.vrh", "bulk modulus", "Bulk_Modulus", "bulk_modulus_kv", "shear-modulus"]
)
def test_a_modulus_is_known_under_the_names_of_the_sources(name):
    assert limits(name, "GPa", CleaningConfig()) == KNOWN["bulk_modulus"]
    assert limits(name, "log10(GPa)", CleaningConfig()).high == np.inf


@pytest.mark.parametrize(
    ("dataset", "stated", "missing"),
    [
        ({"source": "megnet", "targets": ("bulk modulus", "e_form")}, {"e_form": "eV/atom"}, 1),
        ({"source": "megnet", "targets": ("elastic anisotropy",)}, {}, 0),
        ({"source": "jarvis_minerals"}, {"formation_energy_peratom": "eV/atom"}, 0),
        ({"source": "json", "path": "x", "targets": ("a",)}, {}, 1),
        ({"source": "json", "path": "x", "targets": ("a",)}, {"a": "K"}, 0),
        ({"source": "json", "path": "x", "targets": ("a",), "target_units": {"a": ""}}, {}, 0),
        ({"source": "json", "path": "x", "targets": ("poisson_ratio",)}, {}, 0),
    ],
)
def test_a_unit_that_nobody_states_is_named(dataset, stated, missing):
    one = DatasetConfig(**dataset)
    assert without_unit(one, stated) == list(one.targets[:missing])


def in_cells(crystal, labels, name="energy"):
    """One crystal in cells of 1, 2, ... times its size, each with a label."""
    for k, value in enumerate(labels, start=1):
        cell = dict(
            zip(("numbers_N", "lattice_33", "coords_N3"), supercell(crystal, k), strict=True)
        )
        yield replace(crystal, id=f"s{k}", labels={name: value}, **cell)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ((-3.7, -7.4), True),
        ((-3.7, -7.42), True),  # another relaxation
        ((-3.7, -3.7), False),
        ((-3.7, -20.0), False),  # no tolerance is known for this target
        ((0.0, 0.0), False),
    ],
)
def test_labels_in_the_ratio_of_the_atoms_are_a_doubt(tmp_path, rocksalt, labels, told):
    """The second cell has twice the atoms of the first."""
    path = written(tmp_path / "c.parquet", in_cells(rocksalt, labels), ("energy",))
    found = column(check_crystals(path, CleaningConfig()), "disagreement")
    n = len(rocksalt.numbers_N)
    text = (
        f"energy is in the ratio of the atoms in one structure ({labels[0]:.4g} of {n}, "
        f"{labels[1]:.4g} of {2 * n}): given per cell?"
    )
    assert found == (dict.fromkeys(("s1", "s2"), text) if told else {})


def test_a_missing_label_is_no_disagreement(tmp_path, rocksalt):
    labels = [5.0, 9.0, None]
    crystals = [gap(rocksalt, f"c{k}", value) for k, value in enumerate(labels)]
    found = check_crystals(written(tmp_path / "c.parquet", crystals), CleaningConfig())
    text = "band_gap differs by 4 eV in one structure"
    assert column(found, "disagreement") == {"c0": text, "c1": text}
    assert column(found, "duplicate_of") == {"c1": "c0", "c2": "c0"}
    assert not column(found, "unphysical")


@needs_shared
@pytest.mark.parametrize(
    ("source", "file", "target", "name", "ids"),
    [
        ("json", "moduli.json", "bulk_modulus.vrh", "unphysical", {"mp-b", "mp-c"}),
        (
            *("ase", "energies_per_cell.extxyz", "energy", "disagreement"),
            {f"{element}-{k}" for element in ("Cu", "Al", "Ni") for k in (1, 2, 3)},
        ),
    ],
)
def test_doubtful_field_cases(tmp_path, source, file, target, name, ids):
    path = str(SHARED / "field_cases" / file)
    one = open_source(DatasetConfig(source=source, path=path, targets=(target,)))
    valid = list(validated(one.records(), [target], Rejections()))
    units = {target: one.unit(target)}
    write_parquet(tmp_path / "c.parquet", crystals_table(valid, "x", [target], units))
    assert set(column(check_crystals(tmp_path / "c.parquet", CleaningConfig()), name)) == ids


def test_processes_and_windows_change_nothing(doubtful, monkeypatch):
    once = check_crystals(doubtful, CleaningConfig())
    assert check_crystals(doubtful, CleaningConfig(), threads=2).equals(once)
    monkeypatch.setattr(duplicates, "STRUCTURES_AT_ONCE", 1)
    monkeypatch.setattr(cleaning, "TABLE_ROWS", 2)
    assert check_crystals(doubtful, CleaningConfig()).equals(once)


def test_duplicates_are_found_whatever_batches_they_lie_in(tmp_path, triclinic):
    """Two thousand rows without a duplicate in a row group, then a pair across the others."""
    n = 3300
    stretched = [
        gap(replace(triclinic, lattice_33=triclinic.lattice_33 * 1.02**k), f"c{k:04d}", 1.0)
        for k in range(50)
    ]
    table = crystals_table(stretched, "x", (TARGET,), {TARGET: "eV"})
    # The search sees formula, volume and distances: other elements make other crystals of one cell.
    order = np.arange(n) % 50
    numbers = [[3 + k // 50, 14, 8, 9] for k in range(n)]
    table = table.take(pa.array(order)).set_column(
        0, "id", pa.array([f"c{k:04d}" for k in range(n)])
    )
    place = table.column_names.index("numbers")
    numbers[3000] = numbers[2100]
    lattices = table["lattice"].to_pylist()
    lattices[3000] = lattices[2100]
    table = table.set_column(place, "numbers", pa.array(numbers, pa.list_(pa.int16())))
    table = table.set_column(
        place + 1, table.schema.field("lattice"), pa.array(lattices, pa.list_(pa.float64(), 9))
    )
    path = tmp_path / "crystals.parquet"
    write_row_groups(path, [table[:2000], table[2000:2300], table[2300:]], table.schema)
    checks = check_crystals(path, CleaningConfig())
    assert column(checks, "duplicate_of") == {"c3000": "c2100"}


@pytest.mark.parametrize("n", [0, 1])
def test_a_file_without_pairs_has_no_duplicates(tmp_path, rocksalt, n):
    path = written(tmp_path / "crystals.parquet", [gap(rocksalt, "a", 5.0)] * n)
    table = check_crystals(path, CleaningConfig(duplicates="drop", unphysical_labels="drop"))
    assert table.schema.remove_metadata() == CHECKS_SCHEMA
    expected = {"id": "a", "formula": "NaCl", "space_group": 225} | dict.fromkeys(
        ("duplicate_of", "unphysical", "disagreement", "dropped"), ""
    )
    assert table.to_pylist() == [expected] * n


def test_the_order_of_the_source_does_not_matter(tmp_path, rocksalt):
    rng = np.random.default_rng(0)
    crystals = [gap(rocksalt, f"c{k}", float(k)) for k in range(6)]
    tables = set()
    for k in range(3):
        path = written(tmp_path / f"{k}", [crystals[i] for i in rng.permutation(6)])
        tables.add(str(check_crystals(path, CleaningConfig()).to_pylist()))
    assert len(tables) == 1


def test_files_with_known_answers_have_known_duplicates(tmp_path, shared_data):
    """Alumina twice, from two data bases; silicon by two relaxations; the rest once."""
    from dglframer.data.sources.structure_files import read_structures

    files = sorted((shared_data / "structures").glob("*.*"))
    records = read_structures(
        [p for p in files if p.suffix in (".cif", ".vasp") and "large" not in p.name]
    )
    path = written(tmp_path / "crystals.parquet", validated(records, (), Rejections()), ())
    table = check_crystals(path, CleaningConfig())
    pairs = {tuple(sorted((i, j))) for i, j in column(table, "duplicate_of").items()}
    assert ("Al2O3_POSCAR-JVASP-32", "Al2O3_mp-1143") in pairs
    formulas = dict(zip(table["id"].to_pylist(), table["formula"].to_pylist(), strict=True))
    assert all(formulas[i] == formulas[j] for i, j in pairs)
    assert len(pairs) <= 2


def test_the_two_halves_of_the_elasticity_data(tmp_path, shared_data):
    """366 ids stand in both: their geometries and moduli are compared, the rest is left alone."""
    table = pq.read_table(shared_data / "mp_elasticity.parquet")
    ids = table["material_id"].to_pylist()
    twice = {id for id, count in Counter(ids).items() if count > 1}
    assert len(twice) == 366
    rows = [k for k, id in enumerate(ids) if id in twice]
    half = table.take(rows)
    one, other = (half[f"bulk_modulus_{kind}"].to_pylist() for kind in ("vrh", "voigt"))
    modulus = [b if a is None else a for a, b in zip(one, other, strict=True)]
    names = ("material_id", "atomic_numbers", "lattice", "frac_coords")
    columns = {name: half[name] for name in names} | {"bulk_modulus": modulus}
    pq.write_table(type(table).from_pydict(columns), tmp_path / "half.parquet")
    source = ParquetSource(tmp_path / "half.parquet", {"bulk_modulus": "GPa"})
    valid = list(validated(source.records(), ["bulk_modulus"], Rejections(), "all"))
    assert len(valid) == 732 and len({source_id(one.id) for one in valid}) == 366
    path = tmp_path / "crystals.parquet"
    write_parquet(path, crystals_table(valid, "x", ["bulk_modulus"], {"bulk_modulus": "GPa"}))
    checks = check_crystals(path, CleaningConfig(disagreements="drop"))
    assert set(column(checks, "dropped")) == set(column(checks, "disagreement"))
    assert 0 < len(column(checks, "disagreement")) < 732


def test_the_documented_limits_are_those_that_apply():
    text = (ROOT / "docs" / "guide" / "splits.md").read_text(encoding="utf-8")
    table = text.split("<!-- limits")[1].split("<!-- end of limits")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{name}` | {one.low:g} | {one.high:g} | {one.tolerance:g} | {one.unit} |"
        for name, one in KNOWN.items()
    ]
