"""Validation: every bad record gets a reason of its own, and nothing is lost."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from helpers.crystals import crystal

from dglframer.common.elements import MAX_Z, SYMBOLS, atomic_number
from dglframer.common.errors import Rejected
from dglframer.common.files import sha256
from dglframer.common.parquet import read_parquet, write_parquet
from dglframer.config.data import GraphsConfig
from dglframer.data.crystals import crystal_rows, crystals_table, validated
from dglframer.data.rejections import Rejections, lacks_label
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.shards import write_graphs
from dglframer.structures.crystal import Record, validate
from dglframer.structures.neighbors import edge_vectors, periodic_edges, wrapped

DIVIDE = "(all are in the cell if read in angstrom); divide them by the lattice"

NAN, INF = math.nan, math.inf
CUBE = 4.0 * np.eye(3)
TWO = [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]
# Four Na and four Cl, in half edges of the cube.
ROCKSALT = np.array(
    [(x, y, z) for n in (0, 1) for x, y, z in np.ndindex(2, 2, 2) if (x + y + z) % 2 == n]
)


def record(id="a", species=("Na", "Cl"), lattice=CUBE, coords=TWO, labels=None, **more):
    """A valid record of two sites, but for what is given."""
    return Record(id, species, lattice, coords, {"e": 1.0} if labels is None else labels, **more)


def with_value(array, value):
    """A copy with one element replaced."""
    changed = np.array(array, dtype=float)
    changed.flat[-1] = value
    return changed


# name -> (what is wrong with the record, the beginning of its reason)
BAD = {
    "problem": ({"problem": "partial occupancy"}, "partial occupancy"),
    "no id": ({"id": ""}, "no id"),
    "no atoms": ({"species": ()}, "no atoms"),
    "unknown symbol": ({"species": ("Na", "Xx")}, "unknown element 'Xx'"),
    "lower case": ({"species": ("na", "Cl")}, "unknown element 'na'"),
    "empty symbol": ({"species": ("Na", "")}, "unknown element ''"),
    "species with None": ({"species": (None, 17)}, "unknown element None"),
    "true": ({"species": (True, 17)}, "unknown element True"),
    "fraction": ({"species": (11.5, 17)}, "unknown element 11.5"),
    "Z = 0": ({"species": (0, 17)}, "element Z = 0"),
    "Z < 0": ({"species": (-1, 17)}, "element Z = -1"),
    "Z = 99": ({"species": (99, 17)}, "element Z = 99"),
    "Z = 119": ({"species": (119, 17)}, "element Z = 119"),
    "Z overflows": ({"species": (10**6, 17)}, "element Z = 1000000"),
    "lattice text alone": ({"lattice": "none"}, "lattice: not numbers"),
    "lattice shape": ({"lattice": np.ones((3, 2))}, "lattice: shape (3, 2)"),
    "lattice text": ({"lattice": [["a", "b", "c"]] * 3}, "lattice: not numbers"),
    "lattice ragged": ({"lattice": [[1, 2, 3], [4, 5], [6]]}, "lattice: not numbers"),
    "lattice NaN": ({"lattice": with_value(CUBE, NAN)}, "lattice: NaN or infinite"),
    "lattice inf": ({"lattice": with_value(CUBE, INF)}, "lattice: NaN or infinite"),
    "coordinate NaN": ({"coords": with_value(TWO, NAN)}, "fractional coordinates: NaN"),
    "coordinate inf": ({"coords": with_value(TWO, -INF)}, "fractional coordinates: NaN"),
    "coordinates None": ({"coords": None}, "fractional coordinates: shape ()"),
    "one site too few": ({"coords": TWO[:1]}, "fractional coordinates: shape (1, 3)"),
    "flat coordinates": ({"coords": [0.0] * 6}, "fractional coordinates: shape (6,)"),
    "zero volume": ({"lattice": np.ones((3, 3))}, "cell of 0 cubic angstrom"),
    "small volume": ({"lattice": np.eye(3)}, "cell of 0.5 cubic angstrom"),
    "overflow": ({"lattice": 1e200 * np.eye(3)}, "cell of inf cubic angstrom"),
    "thin cell": ({"lattice": np.diag([0.1, 50, 50])}, "cell 0.1 angstrom thin"),
    "skewed thin": ({"lattice": [[4, 0, 0], [400, 4, 0], [0, 0, 4]]}, "cell 0.04 angstrom thin"),
    "same site": ({"coords": [[0.1, 0.2, 0.3]] * 2}, "sites 0 and 1 are 0.00 angstrom apart"),
    "near site": ({"coords": [[0.5] * 3, [0.5, 0.5, 0.502]]}, "sites 0 and 1 are 0.01"),
    "image": (
        {"coords": [[0, 0, 0.0005], [0, 0, 0.9995]]},
        "sites 0 and 1 are 0.00 angstrom apart",
    ),
    "unwrapped image": (
        {"coords": [[0.1] * 3, [3.1, -1.9, 0.1]]},
        "sites 0 and 1 are 0.00 angstrom apart",
    ),
    "almost": ({"coords": [[0.5] * 3, [0.5, 0.5, 0.62]]}, "sites 0 and 1 are 0.48"),
    "alternatives": ({"coords": [[0] * 3, [0, 0.05, 0.05]]}, "sites 0 and 1 are 0.28"),
    "own image": (
        {"lattice": np.diag([0.4, 30, 30]), "coords": [[0] * 3, [0.5] * 3]},
        "site 0 and its own image are 0.40",
    ),
    "Cartesian, 8 atoms": (
        {
            "lattice": 5.64 * np.eye(3),
            "species": (11,) * 4 + (17,) * 4,
            "coords": ROCKSALT * 2.82,
        },
        "fractional coordinates from 0 to 2.82: these are Cartesian " + DIVIDE,
    ),
    "Cartesian, primitive": (
        {"lattice": 2.82 * (np.ones((3, 3)) - np.eye(3)), "coords": [[0] * 3, [2.82] * 3]},
        "fractional coordinates from 0 to 2.82: these are Cartesian " + DIVIDE,
    ),
    "Cartesian, small": (
        {"lattice": 2.87 * np.eye(3), "species": (26, 26), "coords": [[0] * 3, [1.435] * 3]},
        "fractional coordinates from 0 to 1.44: these are Cartesian " + DIVIDE,
    ),
    "close atoms": (
        {"lattice": None, "coords": [[0, 0, 0], [0.2, 0.2, 0.2]]},
        "no lattice, and sites 0 and 1 are 0.35 angstrom apart",
    ),
    "molecule NaN": ({"lattice": None, "coords": with_value(TWO, NAN)}, "coordinates: NaN"),
    "label missing": ({"labels": {}}, "no label e"),
    "label None": ({"labels": {"e": None}}, "no label e"),
    "label empty": ({"labels": {"e": ""}}, "no label e"),
    "label na": ({"labels": {"e": "na"}}, "label e is not a number: 'na'"),
    "label text number": ({"labels": {"e": "1.5"}}, "label e is not a number: '1.5'"),
    "label true": ({"labels": {"e": True}}, "label e is not a number: True"),
    "label numpy true": ({"labels": {"e": np.True_}}, "label e is not a number"),
    "label list": ({"labels": {"e": [1.0]}}, "label e is not a number"),
    "label NaN": ({"labels": {"e": NAN}}, "label e is nan"),
    "label numpy NaN": ({"labels": {"e": np.float32(NAN)}}, "label e is nan"),
    "label inf": ({"labels": {"e": -INF}}, "label e is -inf"),
    "label huge": ({"labels": {"e": 10**400}}, "label e is not a number: 1000"),
    "label complex": ({"labels": {"e": np.complex128(1j)}}, "label e is not a number"),
}


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("name", BAD)
def test_bad_record_is_rejected_with_its_reason(name):
    change, reason = BAD[name]
    with pytest.raises(Rejected) as error:
        validate(record(**change), ["e"])
    assert str(error.value).startswith(reason)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_bad_records_do_not_stop_the_others_and_nothing_is_lost():
    records = [record("first")]
    for name, (change, _) in BAD.items():
        records += [record(**{"id": name, **change}), record(f"after {name}")]
    rejections = Rejections()
    valid = list(validated(records, ["e"], rejections))
    assert [one.id for one in valid] == ["first", *(f"after {name}" for name in BAD)]
    assert len(valid) + len(rejections) == len(records)
    for row in rejections.table().to_pylist():
        assert row["reason"].startswith(list(BAD.values())[row["file_position"] // 2][1])


@pytest.mark.parametrize(
    "change",
    [
        {"lattice": CUBE[[1, 0, 2]]},  # left-handed
        {"species": (1, MAX_Z)},
        {"species": np.array([11, 17], dtype=np.int16)},
        {"species": (" Na ", "D")},
        {"lattice": 4 * np.eye(3, dtype=int)},
        {"coords": [[-3.2, 0, 7], [0.5, 0.5, 0.5]]},
        {"coords": [[0, 0, 0], [0, 0, 0.13]]},  # 0.52 angstrom
        {"coords": [[1, 1, 1], [1.5, 1.5, 1.5]]},  # outside of the cell
        {"coords": [[-0.5, -0.5, -0.5], [0, 0, 0]]},  # around the origin
        {"lattice": [[4, 0, 0], [60, 4, 0], [0, 0, 4]]},
        {"labels": {"e": 1, "other": "na", "another": NAN}},
        {"labels": {"e": np.float32(0)}},
    ],
)
def test_unusual_but_usable_records_are_accepted(change):
    one = validate(record(**change), ["e"])
    assert one.numbers_N.dtype == np.int16
    assert one.lattice_33.dtype == one.coords_N3.dtype == np.float64
    assert list(one.labels) == ["e"] and isinstance(one.labels["e"], float)


def test_coordinates_are_kept_as_given():
    frac_N3 = np.array([[-3.2, 0.1, 7.0], [0.5, 1.5, 0.25]])
    assert np.array_equal(validate(record(coords=frac_N3), ["e"]).coords_N3, frac_N3)


def test_record_without_a_lattice_is_a_molecule():
    one = validate(record(species=("H", "F"), lattice=None, coords=[[0, 0, 0], [0, 0, 0.92]]))
    assert one.lattice_33 is None
    table = crystals_table([replace(one, labels={"e": 1.0})], "mine", ["e"], {"e": ""})
    assert table["lattice"].to_pylist() == [None]
    ((id, numbers_N, lattice_33, coords_N3),) = crystal_rows(table)
    assert (id, list(numbers_N), lattice_33) == ("a", [1, 9], None)
    assert np.array_equal(coords_N3, one.coords_N3)


def test_position_in_the_source_and_date_are_kept():
    records = [record("b", date="2021-08-18"), record("bad", labels={}), record("a"), record("a")]
    rejections = Rejections()
    table = crystals_table(validated(records, ["e"], rejections), "x", ["e"], {"e": ""})
    columns = ["id", "file_position", "date"]
    assert table.select(columns).to_pylist() == [
        {"id": "a", "file_position": 2, "date": None},
        {"id": "b", "file_position": 0, "date": "2021-08-18"},
    ]
    assert rejections.table().to_pylist() == [
        {"id": "a", "reason": "repeated id", "file_position": 3},
        {"id": "bad", "reason": "no label e", "file_position": 1},
    ]


def test_handedness_does_not_change_the_distances(triclinic):
    mirrored = triclinic.lattice_33 * [1, 1, -1]
    left = validate(Record("left", [3, 14, 8, 9], mirrored, triclinic.coords_N3))

    def distances(one):
        edges = periodic_edges(one.lattice_33, one.coords_N3, 6.0)
        r_E3 = edge_vectors(one.lattice_33, wrapped(one.coords_N3), edges)
        return np.linalg.norm(r_E3, axis=1)

    assert np.linalg.det(left.lattice_33) < 0 < np.linalg.det(triclinic.lattice_33)
    np.testing.assert_allclose(distances(left), distances(triclinic), rtol=1e-14)


def test_repeated_id_keeps_the_first_valid_record():
    records = [
        record("a", labels={}),
        record("a", labels={"e": 2.0}),
        record("b"),
        record("a", labels={"e": 3.0}),
    ]
    rejections = Rejections()
    valid = list(validated(records, ["e"], rejections))
    assert [(one.id, one.labels["e"]) for one in valid] == [("a", 2.0), ("b", 1.0)]
    assert rejections.table()["reason"].to_pylist() == ["no label e", "repeated id"]


def test_all_records_of_an_id_are_told_apart_by_number():
    records = [record("a"), record("b"), record("a", labels={}), record("a"), record("a#3")]
    rejections = Rejections()
    valid = list(validated([*records, record("a")], ["e"], rejections, "all"))
    assert [(one.id, one.file_position) for one in valid] == [
        ("a", 0),
        ("b", 1),
        ("a#2", 3),
        ("a#3", 4),
        ("a#4", 5),
    ]
    assert rejections.table()["id"].to_pylist() == ["a"]


def test_what_is_wrong_with_the_label_is_told_before_the_structure():
    """So that records without a label can be told from labelled ones, whatever their structure."""
    for value, reason in [
        (None, "no label e, f"),
        (NAN, "label e is nan"),
        ("na", "label e is not"),
    ]:
        with pytest.raises(Rejected) as error:
            validate(record(species=("Xx", "Cl"), labels={"e": value, "f": None}), ["e", "f"])
        assert str(error.value).startswith(reason) and lacks_label(str(error.value), "e")
        assert lacks_label(str(error.value), "f") == (value is None)
    for change in ({"species": ("Xx", "Cl")}, {"id": ""}, {"problem": "label f is lost"}):
        with pytest.raises(Rejected) as error:
            validate(record(**change), ["e"])
        assert not lacks_label(str(error.value), "e")


def test_one_of_several_labels_is_enough(tmp_path):
    """The others are null in crystals.parquet and in the shards, and NaN in a batch."""
    some = [{"e": 1.5, "f": None}, {"e": None, "f": -2.0}, {"e": 1.0, "f": 2.0}, {}]
    rejections = Rejections()
    given = [record(f"c{k}", labels=labels) for k, labels in enumerate(some)]
    crystals = list(validated(given, ["e", "f"], rejections))
    assert rejections.table()["reason"].to_pylist() == ["no label e, f"]
    table = crystals_table(crystals, "x", ["e", "f"], {"e": "", "f": "K"})
    expected = [{"e": 1.5, "f": None}, {"e": None, "f": -2.0}, {"e": 1.0, "f": 2.0}]
    assert table.select(["e", "f"]).to_pylist() == expected
    write_parquet(tmp_path / "crystals.parquet", table)
    write_graphs(
        tmp_path / "crystals.parquet", tmp_path / "graphs", GraphsConfig(cutoff_angstrom=4.0)
    )
    shard = next((tmp_path / "graphs").glob("*.parquet"))
    assert read_parquet(shard).select(["e", "f"]).to_pylist() == expected
    dataset = GraphDataset(tmp_path / "graphs")
    found = dataset.collate([0, 1, 2]).targets_BT
    assert np.array_equal(found, [[1.5, NAN], [NAN, -2], [1, 2]], equal_nan=True)
    mean_T, std_T = dataset.target_statistics()
    assert (mean_T.tolist(), std_T.tolist()) == ([1.25, 0.0], [0.25, 2.0])


def some_crystals(triclinic, rocksalt, cscl_like):
    return [
        crystal(
            id, "Li Si O F" if one is triclinic else "Na Cl", one.lattice_33, one.coords_N3, e=e
        )
        for id, one, e in [("c", triclinic, 1.5), ("a", rocksalt, -2.0), ("b", cscl_like, 0.1)]
    ]


def test_table_states_units_and_gives_the_crystals_back(triclinic, rocksalt, cscl_like):
    crystals = some_crystals(triclinic, rocksalt, cscl_like)
    table = crystals_table(crystals, "mine", ["e"], {"e": "eV/atom"})
    assert table.schema.field("e").metadata == {b"unit": b"eV/atom"}
    assert table.schema.field("lattice").metadata == {b"unit": b"angstrom"}
    assert table["source"].to_pylist() == ["mine"] * 3
    assert table["e"].to_pylist() == [-2.0, 0.1, 1.5]
    rows = list(crystal_rows(table))
    for row, one in zip(rows, sorted(crystals, key=lambda c: c.id), strict=True):
        assert row[0] == one.id
        for read, written in zip(
            row[1:], (one.numbers_N, one.lattice_33, one.coords_N3), strict=True
        ):
            assert read.dtype == written.dtype and np.array_equal(read, written)


def test_rows_of_a_slice_are_those_of_the_slice(triclinic, rocksalt, cscl_like):
    crystals = some_crystals(triclinic, rocksalt, cscl_like)
    table = crystals_table(crystals, "mine", ["e"], {"e": ""})
    (row,) = crystal_rows(table.slice(2, 1))
    assert row[0] == "c" and len(row[1]) == 4
    assert np.array_equal(row[3], triclinic.coords_N3)


def test_bytes_do_not_depend_on_the_order_of_the_records(tmp_path):
    """But for file_position, which is that order."""
    records = [record(f"id-{k}", labels={"e": k / 3}) for k in range(20)]
    records += [record(f"bad-{k}", labels={"e": "na" if k % 2 else NAN}) for k in range(5)]
    hashes = set()
    for seed in range(3):
        random.Random(seed).shuffle(records)
        rejections = Rejections()
        table = crystals_table(validated(records, ["e"], rejections), "x", ["e"], {"e": "eV"})
        rejected = rejections.table().drop_columns("file_position")
        write_parquet(tmp_path / "crystals", table.drop_columns("file_position"))
        write_parquet(tmp_path / "rejected", rejected)
        assert table["id"].to_pylist() == sorted(table["id"].to_pylist())
        hashes.add((sha256(tmp_path / "crystals"), sha256(tmp_path / "rejected")))
    assert len(hashes) == 1


def test_elements_are_those_of_the_periodic_table():
    from pymatgen.core import Element

    assert [Element.from_Z(z).symbol for z in range(1, MAX_Z + 1)] == list(SYMBOLS)
    assert [atomic_number(symbol) for symbol in SYMBOLS] == list(range(1, MAX_Z + 1))
    assert atomic_number("D") == atomic_number("T") == 1 and atomic_number("Es") is None
