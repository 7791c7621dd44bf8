"""JSON lists of crystals: read an entry at a time, and what their entries become."""

import gzip
import io
import json
import tracemalloc
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers.crystals import CIF, reasons_by_id
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Molecule, Structure

from dglframer.common.errors import ConfigError, DamagedFile, Rejected
from dglframer.config.data import DatasetConfig
from dglframer.data.crystals import validated
from dglframer.data.rejections import Rejections
from dglframer.data.sources import json_stream, open_source
from dglframer.data.sources.json_list import record
from dglframer.data.sources.json_stream import entries, read_entries, read_list
from dglframer.data.sources.structure_files import read_structures
from dglframer.structures.crystal import validate

HERE = Path("list.json")
ATOMS = {"lattice_mat": np.diag([4.0] * 3).tolist(), "coords": [[0, 0, 0]], "elements": ["Po"]}
ATOMS["cartesian"] = False


def read(text: str | bytes) -> list[dict]:
    return list(read_list(io.BytesIO(text.encode() if isinstance(text, str) else text), HERE))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
LISTS = st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), max_size=6)


@given(LISTS, st.sampled_from([None, 0, 3]), st.booleans(), st.integers(1, 9))
def test_any_list_is_read_as_json_reads_it_whatever_the_chunks(value, indent, ascii, chunk):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii)
    original = json_stream.CHUNK
    json_stream.CHUNK = chunk
    try:
        assert read("\ufeff  " + text + "\n") == value
    finally:
        json_stream.CHUNK = original


@given(LISTS, st.sampled_from([None, 2]), st.integers(1, 9), st.sampled_from("lfFo"))
def test_every_form_gives_the_same_objects_whatever_the_chunks(value, indent, chunk, form):
    """A list; JSON lines; frames with columns before or after the data; a single object."""
    dump = partial(json.dumps, indent=indent)
    if form == "o":
        value = value[:1] or [{}]
        text = dump(value[0])
    elif form == "l":
        text = "\n".join(map(json.dumps, value)) or "[]"
    else:
        value = [{"a": number, "b": one} for number, one in enumerate(value)]
        columns = {"columns": ["a", "b"]}
        data = {"data": [list(row.values()) for row in value], "index": list(range(len(value)))}
        text = dump(columns | data if form == "f" else data | columns)
    original = json_stream.CHUNK
    json_stream.CHUNK = chunk
    try:
        assert list(read_entries(io.BytesIO(text.encode()), HERE)) == value
    finally:
        json_stream.CHUNK = original


def test_numbers_are_whole_at_the_edge_of_a_chunk(monkeypatch):
    for chunk in range(1, 12):
        monkeypatch.setattr(json_stream, "CHUNK", chunk)
        text = io.BytesIO(b'{"a": 123456, "b": -1.5e-7, "c": 3E+2}')
        assert list(read_entries(text, HERE)) == [{"a": 123456, "b": -1.5e-7, "c": 300.0}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"it begins with neither \[ nor \{ after 0"),
        ("<html>", r"it begins with neither \[ nor \{ after 0"),
        ('{"a": 1}\n2', "2 for an object after 1"),
        ('{"a": 1}\n{"a": ', "Expecting value.* after 1"),
        ('{"a"', "the end for a colon after 0"),
        ('{"a": 1 "b"', '" for a comma after 0'),
        ('{"columns": ["a"], "data": [[1, 2]]}', "a row that does not fit the columns .* after 1"),
        ('{"columns": ["a"], "data": [{"a": 1}]}', r"\{ for a row after 0"),
        ('{"data": [1], "columns": ["a"]}', "a row that does not fit the columns .* after 0"),
    ],
)
def test_what_is_none_of_the_forms_is_named_with_the_place(text, words):
    with pytest.raises(DamagedFile, match=rf"list\.json: .*{words} entries"):
        list(read_entries(io.BytesIO(text.encode()), HERE))


def test_rows_of_a_frame_are_in_memory_one_at_a_time(tmp_path):
    path = tmp_path / "frame.json.gz"
    row = json.dumps([{"x": [0.123456789] * 300}, 1.5])
    with gzip.open(path, "wt") as file:
        file.write('{"index": [], "columns": ["structure", "gap"], "data": [' + row)
        for _ in range(3_999):
            file.write("," + row)
        file.write("]}")
    tracemalloc.start()
    n_read = sum(1 for _ in entries(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n_read == 4_000 and peak < 8 << 20


def test_nan_and_infinity_are_read_as_python_writes_them():
    (entry,) = read('[{"a": NaN, "b": -Infinity}]')
    assert np.isnan(entry["a"]) and entry["b"] == -np.inf


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"does not begin with \[ after 0"),
        ("{}", r"does not begin with \[ after 0"),
        ("<html>", r"does not begin with \[ after 0"),
        ("[", "the end for an object after 0"),
        ('[{"a": 1}', "the end for a comma after 1"),
        ('[{"a": 1},', "the end for an object after 1"),
        ('[{"a": 1}, 2]', "2 for an object after 1"),
        ('[{"a": 1} {"a": 2}]', "{ for a comma after 1"),
        ('[{"a": 1}, {"a": ', "Expecting value.* after 1"),
        ('[{"a": 1}, {a: 2}]', "property name.* after 1"),
        (b'[{"a": "\xff"}]', "utf-8.* after 0"),
    ],
)
def test_what_is_no_list_of_objects_is_named_with_the_place(text, words):
    with pytest.raises(DamagedFile, match=rf"list\.json: .*{words} entries"):
        read(text)


def test_damaged_entry_is_not_searched_to_the_end_of_the_file(monkeypatch):
    monkeypatch.setattr(json_stream, "LARGEST_ENTRY", 1000)
    monkeypatch.setattr(json_stream, "CHUNK", 100)
    stream = io.BytesIO(b'[{"a": "' + b"x" * 100_000)
    with pytest.raises(DamagedFile, match="after 0 entries"):
        list(read_list(stream, HERE))
    assert stream.closed or stream.tell() < 20_000


def test_memory_does_not_grow_with_the_list():
    entry = json.dumps({"jid": "x", "desc": [0.123456789] * 300}).encode()

    class Long(io.RawIOBase):
        """4,000 entries, 15 MB of text in all, made as they are read."""

        left = 4_000

        def readable(self):
            return True

        def readinto(self, buffer):
            piece = b"" if self.left < 0 else b"]" if self.left == 0 else entry
            piece = (b"[" if self.left == 4_000 else b"," if self.left > 0 else b"") + piece
            self.left -= 1
            buffer[: len(piece)] = piece
            return len(piece)

    tracemalloc.start()
    n_read = sum(1 for _ in read_list(io.BufferedReader(Long()), HERE))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n_read == 4_000
    assert peak < 8 << 20


# entries


def test_pymatgen_structures_and_molecules_are_understood():
    structure = Structure.from_str(CIF, fmt="cif")
    one = validate(record({"material_id": 7, "structure": structure.as_dict()}, []))
    assert one.id == "7" and list(one.numbers_N) == [55, 17]
    np.testing.assert_allclose(one.lattice_33, structure.lattice.matrix)
    water = Molecule("OHH", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    one = validate(record({"id": "w", "structure": water.as_dict()}, []))
    assert one.lattice_33 is None and one.coords_N3[1, 0] == 0.96


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({}, "neither atoms nor structure"),
        ({"atoms": None}, "cannot be read: TypeError"),
        ({"atoms": {**ATOMS, "coords": [["x"] * 3]}}, "cannot be read: ValueError"),
        ({"atoms": {"elements": ["Po"]}}, "cannot be read: KeyError 'lattice_mat'"),
        (
            {"atoms": {**ATOMS, "cartesian": True, "lattice_mat": np.zeros((3, 3)).tolist()}},
            "cannot be read: LinAlgError",
        ),
        ({"atoms": {**ATOMS, "elements": ["Xx"]}}, "unknown element 'Xx'"),
        ({"structure": {"sites": [{"species": []}]}}, "partial occupancy (disordered"),
        ({"atoms": ATOMS, "id": None}, "no id"),
    ],
)
def test_bad_entry_is_one_rejected_record(entry, reason):
    with pytest.raises(Rejected) as error:
        validate(record({"jid": "a"} | entry if "id" not in entry else entry, []))
    assert str(error.value).startswith(reason)


@pytest.mark.parametrize(
    ("value", "label"),
    [("na", None), ("", None), (None, None), (" 1.5 ", 1.5), (2, 2), ("x", "x"), (True, True)],
)
def test_labels_may_be_text_or_missing(value, label):
    found = record({"jid": "a", "atoms": ATOMS, "e": value}, ["e"]).labels["e"]
    assert found == label and type(found) is type(label)


def test_label_within_a_dictionary_is_named_with_dots():
    entry = {"jid": "a", "atoms": ATOMS, "bulk_modulus": {"vrh": 80.0}, "a.b": 1.0}
    assert record(entry, ["bulk_modulus.vrh", "a.b", "bulk_modulus.x", "gap.x"]).labels == {
        "bulk_modulus.vrh": 80.0,
        "a.b": 1.0,
        "bulk_modulus.x": None,
        "gap.x": None,
    }


def test_list_of_pymatgen_structures_alone_is_read(tmp_path):
    structure = Structure.from_str(CIF, fmt="cif")
    structure.properties = {"gap": 8.2}
    named = {**structure.as_dict(), "id": "named"}
    path = tmp_path / "cscl.json"
    path.write_text(json.dumps([structure.as_dict(), structure.as_dict(), {"id": "b", **named}]))
    source = open_source(DatasetConfig(source="json", path=str(path), targets=("gap",)))
    crystals = list(validated(source.records(), ["gap"], Rejections()))
    assert [(one.id, one.labels["gap"]) for one in crystals] == [
        ("cscl-0", 8.2),
        ("cscl-1", 8.2),
        ("named", 8.2),
    ]
    assert source.unit("gap") == ""


STRUCTURE = Structure(4.2 * np.eye(3), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]).as_dict()
FORMS = {
    "list.json": json.dumps([{"id": "a", "structure": STRUCTURE, "gap": 1.5}]),
    "lines.jsonl": json.dumps({"material_id": "a", "structure": STRUCTURE, "gap": "1.5"}) + "\n",
    "one.json": json.dumps({"jid": "a", "atoms": ATOMS, "gap": 1.5}, indent=1),
    "structure.json": json.dumps({**STRUCTURE, "properties": {"gap": 1.5, "material_id": "a"}}),
    "atoms.json": json.dumps({**ATOMS, "id": "a", "gap": 1.5}),
    # matminer's order, with the ids of matbench in the index, and that of pandas
    "matbench.json": json.dumps(
        {"index": ["a"], "columns": ["structure", "gap"], "data": [[STRUCTURE, 1.5]]}
    ),
    "pandas.json": json.dumps(
        {"columns": ["id", "structure", "gap"], "index": [0], "data": [["a", STRUCTURE, 1.5]]}
    ),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("packing", ["", ".gz", ".zip"])
def test_forms_of_json_are_read_packed_or_not(tmp_path, name, packing):
    path = tmp_path / (name + packing)
    content = FORMS[name].encode()
    if packing == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, content)
    else:
        path.write_bytes(gzip.compress(content) if packing else content)
    source = open_source(DatasetConfig(source="json", path=str(path), targets=("gap",)))
    assert source.unit("gap") == ""
    (crystal,) = validated(source.records(), ["gap"], Rejections())
    assert (crystal.id, crystal.labels) == ("a", {"gap": 1.5})
    if packing != ".zip":  # and as a structure file
        (record,) = read_structures([path])
        assert record.id == "a" and list(validate(record).numbers_N) == list(crystal.numbers_N)


def test_entries_without_ids_are_numbered(tmp_path):
    rows = [[STRUCTURE, 1.5], [STRUCTURE, None], [STRUCTURE, float("nan")]]
    frame = {"index": [4, 7, 9], "columns": ["structure", "gap"], "data": rows}
    (tmp_path / "set.json").write_text(json.dumps(frame))
    dataset = DatasetConfig(source="json", path=str(tmp_path / "set.json"), targets=("gap",))
    rejections = Rejections()
    (crystal,) = validated(open_source(dataset).records(), ["gap"], rejections)
    assert crystal.id == "set-0"
    assert reasons_by_id(rejections) == dict.fromkeys(["set-1", "set-2"], "no label gap")


def test_target_of_which_the_first_entries_have_none_is_one(tmp_path):
    """Moduli are known for a part of the crystals."""
    first = [{"id": str(k), "atoms": ATOMS, "bulk_modulus": None} for k in range(100)]
    last = {"id": "last", "atoms": ATOMS, "bulk_modulus": {"vrh": 80}}
    (tmp_path / "a.json").write_text(json.dumps([*first, last]))
    target = "bulk_modulus.vrh"
    dataset = DatasetConfig(source="json", path=str(tmp_path / "a.json"), targets=(target,))
    assert open_source(dataset).unit(target) == ""
    (crystal,) = validated(open_source(dataset).records(), [target], Rejections())
    assert crystal.labels == {target: 80}


@pytest.mark.parametrize("element", ["D", "T"])
def test_heavy_hydrogen_is_hydrogen(element):
    sites = [{"species": [{"element": element, "occu": 1}], "abc": [0, 0, 0]}]
    lattice = {"matrix": ATOMS["lattice_mat"]}
    for entry in (
        {"id": "a", "structure": {"lattice": lattice, "sites": sites}},
        {"id": "a", "atoms": {**ATOMS, "elements": [element]}},
    ):
        assert list(validate(record(entry, [])).numbers_N) == [1]


def test_json_source_reads_a_list_and_names_what_is_missing(tmp_path):
    rows = [{"id": k, "atoms": ATOMS, "gap": k, "last_updated": "2020-01-02"} for k in range(3)]
    path = tmp_path / "list.json"
    path.write_text(json.dumps(rows))
    source = open_source(
        DatasetConfig(source="json", path=str(path), targets=("gap",), target_units={"gap": "eV"})
    )
    crystals = list(validated(source.records(), ["gap"], Rejections()))
    assert [(one.id, one.labels["gap"], one.date) for one in crystals] == [
        (str(k), float(k), "2020-01-02") for k in range(3)
    ]
    assert source.unit("gap") == "eV" and source.files() == [path]
    with pytest.raises(ConfigError, match="has no age; it has atoms, gap, id"):
        source.unit("age")
    with pytest.raises(ConfigError, match="no file nowhere"):
        open_source(DatasetConfig(source="json", path="nowhere"))
