"""The three sources: what they yield, and that a bad row is one record and not the end."""

import logging
from collections import Counter

import ase.io
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase import Atoms
from helpers.crystals import CIF, POSCAR, TARGETS, reasons_by_id

from dglframer.common.errors import ConfigError, DamagedFile
from dglframer.common.files import write_json
from dglframer.config.data import DatasetConfig, SplitConfig
from dglframer.data.crystals import crystals_table, validated
from dglframer.data.rejections import Rejections
from dglframer.data.sources import describe, open_source, verify
from dglframer.data.sources.jarvis_minerals import JarvisMinerals
from dglframer.data.split import split_crystals
from dglframer.structures.periodic_graph import build_graph


def read(source, targets):
    """(valid crystals by id, reasons by id) of a source."""
    rejections = Rejections()
    valid = {one.id: one for one in validated(source.records(), targets, rejections)}
    return valid, reasons_by_id(rejections)


# jarvis_minerals


def test_jarvis_minerals_has_the_documented_counts():
    source = JarvisMinerals(TARGETS)
    ids = [record.id for record in source.records()]
    valid, reasons = read(source, TARGETS)
    assert (len(ids), len(set(ids)), len(valid)) == (509, 503, 502)
    assert Counter(reasons.values()) == {"repeated id": 6, f"no label {', '.join(TARGETS)}": 1}
    assert Counter(one.split for one in valid.values()) == {"train": 398, "val": 50, "test": 54}
    assert max(len(one.numbers_N) for one in valid.values()) == 100


def test_jarvis_minerals_states_units():
    units = {name: JarvisMinerals([name]).unit(name) for name in TARGETS}
    assert units == {"formation_energy_peratom": "eV/atom", "optb88vdw_bandgap": "eV"}


def test_jarvis_minerals_geometry_is_that_of_the_entry():
    valid, _ = read(JarvisMinerals(TARGETS), TARGETS)
    graph = build_graph(valid["JVASP-23862"], 4.0)  # halite, NaCl
    assert sorted(graph.numbers_N) == [11, 17]
    distances_E = np.linalg.norm(graph.vectors_E3, axis=1)
    assert distances_E[distances_E > 0].min() == pytest.approx(2.82, abs=0.04)


def test_id_in_two_parts_of_the_benchmark_is_left_out_aloud(caplog):
    target = "mbj_bandgap"
    valid, _ = read(JarvisMinerals([target]), [target])
    table = crystals_table(valid.values(), "x", [target], {target: "eV"})
    with caplog.at_level(logging.WARNING):
        splits = split_crystals(table, SplitConfig(method="canonical"))
    aside = "listed in train and test"
    assert Counter(splits.values()) == {"train": 184, "val": 29, "test": 19, aside: 1}
    assert splits["JVASP-96735"] == aside
    assert "JVASP-96735 is listed in train and test" in caplog.text


def test_unknown_target_names_the_valid_ones():
    with pytest.raises(ConfigError, match=r"no target gap.*formation_energy_peratom.*mbj_bandgap"):
        open_source(DatasetConfig(targets=("gap",)))


# folder


@pytest.fixture
def folder(tmp_path):
    """A function that writes targets.csv and opens the source; the folder has two good files."""
    files = tmp_path / "my crystals"
    files.mkdir()
    (files / "a.cif").write_text(CIF)
    (files / "b.vasp").write_text(POSCAR.format("b"))
    (files / "notes.txt").write_text("not a structure")
    (files / "POSCARS").mkdir()

    def opened(csv, targets=("gap",), **more):
        path = tmp_path / "targets.csv"
        path.write_bytes(csv if isinstance(csv, bytes) else csv.encode())
        return open_source(
            DatasetConfig(
                source="folder", path=str(files), targets_csv=str(path), targets=targets, **more
            )
        )

    opened.files = files
    return opened


def test_folder_reads_cif_poscar_and_csv(folder):
    source = folder("id,gap\na,1.5\nb,-2\n", target_units={"gap": "eV"})
    valid, reasons = read(source, ["gap"])
    assert not reasons
    assert {id: one.labels["gap"] for id, one in valid.items()} == {"a": 1.5, "b": -2.0}
    assert source.unit("gap") == "eV"
    for one in valid.values():
        assert sorted(one.numbers_N) == [17, 55]
        np.testing.assert_allclose(one.lattice_33, 4.2 * np.eye(3), atol=1e-12)


def test_folder_takes_a_csv_with_byte_order_mark(folder):
    valid, _ = read(folder("\ufeffid,gap\na,1\nb,2\n"), ["gap"])
    assert set(valid) == {"a", "b"}


def test_folder_reads_extxyz_with_one_structure_or_several(folder):
    one = Atoms("CsCl", scaled_positions=[[0, 0, 0], [0.5] * 3], cell=[4.2] * 3, pbc=True)
    two = one.copy()
    two.info["id"] = "named"
    ase.io.write(folder.files / "one.extxyz", one)
    ase.io.write(folder.files / "run.xyz", [one, two], format="extxyz")
    (folder.files / "bad.extxyz").write_text("2\n\nNa 0 0")
    rows = "".join(f"{id},{k}\n" for k, id in enumerate(["a", "b", "one", "run-0", "named", "bad"]))
    valid, reasons = read(folder("id,gap\n" + rows), ["gap"])
    assert {id: one.labels["gap"] for id, one in valid.items()} == {
        **{"a": 0, "b": 1, "one": 2, "run-0": 3, "named": 4}
    }
    assert list(reasons) == ["bad"] and reasons["bad"].startswith("cannot be read")
    np.testing.assert_allclose(valid["named"].coords_N3, valid["a"].coords_N3, atol=1e-9)


@pytest.mark.parametrize(
    ("csv", "reason"),
    [
        ("id,gap\nb,1\n", "no label: no row in targets.csv"),
        ("id,gap\na,\nb,1\n", "no label gap"),
        ("id,gap\na\nb,1\n", "no label gap"),
        ("id,gap\na,na\nb,1\n", "no label gap"),
        ("id,gap\na,NaN\nb,1\n", "no label gap"),
        ("id,gap\na,wide\nb,1\n", "label gap is not a number: 'wide'"),
        ("id,gap\na,inf\nb,1\n", "label gap is inf"),
        ("id,gap\na,1,5\nb,1\n", "row of targets.csv has more fields than the header"),
    ],
)
def test_bad_csv_row_rejects_its_crystal_alone(folder, csv, reason):
    valid, reasons = read(folder(csv), ["gap"])
    assert set(valid) == {"b"} and reasons == {"a": reason}


def test_csv_row_without_a_file_is_counted(folder):
    valid, reasons = read(folder("id,gap\na,1\nb,1\nc,1\n"), ["gap"])
    assert set(valid) == {"a", "b"}
    assert reasons == {"c": "no structure file for this row of targets.csv"}


def test_unreadable_file_and_two_files_for_one_row_are_counted(folder):
    (folder.files / "c.cif").write_bytes(b"\x00\x01garbage")
    (folder.files / "b.cif").write_text(CIF)
    valid, reasons = read(folder("id,gap\na,1\nb,1\nc,1\n"), ["gap"])
    assert set(valid) == {"a"}
    assert reasons["c"].startswith("cannot be read")
    fits = "targets.csv: row b fits b.cif, b.vasp; write the path in the id"
    assert reasons["b.cif"] == reasons["b.vasp"] == fits


@pytest.mark.parametrize(
    ("csv", "message"),
    [
        ("id,gap\na,1\na,2\n", "id a stands in two rows"),
        ("name,gap\na,1\n", "no column id"),
        ("", "no column id"),
        ("id,gap\na,1 \u00b1\n".encode("latin-1"), "not a CSV file in UTF-8"),
    ],
)
def test_unusable_csv_is_a_config_error(folder, csv, message):
    with pytest.raises(ConfigError, match=rf"targets\.csv.*{message}"):
        folder(csv)


def test_folder_names_its_columns_when_the_target_is_unknown(folder):
    with pytest.raises(ConfigError, match=r"no column e; it has gap, age"):
        folder("id,gap,age\na,1,2\n").unit("e")


@pytest.mark.parametrize("absent", ["path", "targets_csv"])
def test_absent_input_is_named(folder, absent):
    folder("id,gap\na,1\n")
    given = {"path": str(folder.files), "targets_csv": str(folder.files.parent / "targets.csv")}
    with pytest.raises(ConfigError, match=f"{absent}: no f.* nowhere"):
        open_source(DatasetConfig(source="folder", **{**given, absent: "nowhere"}))


# parquet


def parquet_source(path, table=None, **more):
    if table is not None:
        pq.write_table(table, path)
    return open_source(DatasetConfig(source="parquet", path=str(path), **more))


def test_parquet_reads_our_own_crystals(tiny_run):
    source = parquet_source(tiny_run.crystals)
    valid, reasons = read(source, TARGETS)
    assert not reasons and source.unit(TARGETS[0]) == "eV"
    for one in tiny_run.valid:
        again = valid[one.id]
        assert (again.split, again.labels) == (one.split, one.labels)
        for name in ("numbers_N", "lattice_33", "coords_N3"):
            assert np.array_equal(getattr(again, name), getattr(one, name))


def test_config_can_give_the_unit(tiny_run):
    source = parquet_source(tiny_run.crystals, target_units={TARGETS[0]: "kJ/mol"})
    assert source.unit(TARGETS[0]) == "kJ/mol"


def test_parquet_understands_other_names(shared_data, tmp_path):
    table = pq.read_table(shared_data / "mp_elasticity.parquet").slice(0, 50)
    source = parquet_source(tmp_path / "first50.parquet", table)
    target = next(f.name for f in table.schema if pa.types.is_floating(f.type))
    valid, reasons = read(source, [target])
    assert len(valid) + len(reasons) == 50
    ids, atoms = table["material_id"].to_pylist(), table["atomic_numbers"].to_pylist()
    expected = dict(zip(ids, atoms, strict=True))
    assert valid and all(list(one.numbers_N) == expected[id] for id, one in valid.items())
    assert source.unit(target) == table.schema.field(target).metadata[b"unit"].decode()


def raw_table(**columns) -> pa.Table:
    """Three cubic crystals under the column names of the schema."""
    values = {
        "id": ["a", "b", "c"],
        "numbers": [[11]] * 3,
        "lattice": [[4.0, 0, 0, 0, 4.0, 0, 0, 0, 4.0]] * 3,
        "frac_coords": [[0.0, 0, 0]] * 3,
        "gap": [1.0, 2.0, 3.0],
    }
    return pa.table({**values, **columns})


CELL = [4.0, 0, 0, 0, 4.0, 0, 0, 0, 4.0]


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("numbers", None, "no atoms"),
        ("numbers", [None], "unknown element None"),
        ("lattice", CELL[:8], "lattice: not numbers"),
        ("lattice", [*CELL, 1.0, 2.0, 3.0], "lattice: shape (4, 3)"),
        ("lattice", [None, *CELL[1:]], "lattice: NaN"),
        ("frac_coords", None, "fractional coordinates: shape ()"),
        ("frac_coords", [0.0, 0.0], "fractional coordinates: shape (1, 2)"),
        ("frac_coords", [0.0] * 6, "fractional coordinates: shape (2, 3)"),
        ("gap", None, "no label gap"),
        ("gap", float("nan"), "no label gap"),
        ("id", None, "no id"),
    ],
)
def test_bad_parquet_row_is_rejected_alone(tmp_path, column, cell, reason):
    table = raw_table()
    values = table[column].to_pylist()
    values[1] = cell
    source = parquet_source(tmp_path / "a.parquet", raw_table(**{column: values}))
    valid, reasons = read(source, ["gap"])
    assert set(valid) == {"a", "c"}
    (found,) = reasons.values()
    assert found.startswith(reason)


def test_parquet_ids_may_be_integers_and_zero(tmp_path):
    source = parquet_source(tmp_path / "a.parquet", raw_table(id=[0, 1, 2]))
    assert [record.id for record in source.records()] == ["0", "1", "2"]


def test_parquet_without_split_column_has_no_split(tmp_path):
    source = parquet_source(tmp_path / "a.parquet", raw_table())
    assert {record.split for record in source.records()} == {""}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"id": ["a"]}), "no column numbers, lattice, frac_coords"),
        (raw_table(lattice=[1.0] * 3), "column lattice holds double, not lists"),
        (raw_table(numbers=["Na"] * 3), "column numbers holds string, not lists"),
    ],
)
def test_unusable_columns_are_named(tmp_path, table, message):
    with pytest.raises(ConfigError, match=message):
        parquet_source(tmp_path / "a.parquet", table)


def test_parquet_names_its_targets_when_one_is_unknown(tmp_path):
    with pytest.raises(ConfigError, match=r"no target e; it has .*gap"):
        parquet_source(tmp_path / "a.parquet", raw_table()).unit("e")


def test_damaged_parquet_is_named(tmp_path, tiny_run):
    (tmp_path / "garbage.parquet").write_bytes(b"no parquet")
    with pytest.raises(DamagedFile, match=r"garbage\.parquet"):
        parquet_source(tmp_path / "garbage.parquet")
    content = bytearray(tiny_run.crystals.read_bytes())
    chunk = pq.read_metadata(tiny_run.crystals).row_group(0).column(5)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start + chunk.total_compressed_size - 1] ^= 0xFF
    (tmp_path / "flipped.parquet").write_bytes(content)
    with pytest.raises(DamagedFile, match=r"flipped\.parquet"):
        list(parquet_source(tmp_path / "flipped.parquet").records())


# download.json


def test_description_holds_and_a_change_after_it_is_detected(folder, tmp_path):
    description = describe(folder("id,gap\na,1\nb,1\n"))
    write_json(tmp_path / "download.json", description)
    names = {entry["path"].rsplit("/", 1)[-1] for entry in description["files"]}
    assert names == {"targets.csv", "a.cif", "b.vasp"}
    verify(tmp_path / "download.json")
    (folder.files / "a.cif").write_text(CIF.replace("4.2", "4.3"))
    with pytest.raises(DamagedFile, match=r"a\.cif.*changed or gone"):
        verify(tmp_path / "download.json")
    (folder.files / "a.cif").unlink()
    with pytest.raises(DamagedFile, match=r"a\.cif.*changed or gone"):
        verify(tmp_path / "download.json")


def test_embedded_source_describes_existing_files():
    description = describe(JarvisMinerals(TARGETS))
    assert [entry["bytes"] > 0 for entry in description["files"]] == [True, True]
    assert "572 of the 1081" in description["notes"][0]
