"""A folder with a table: the layouts, tables and ids that people have."""

import gzip
import json
import logging

import ase.io
import pytest
from ase import Atoms
from helpers.crystals import CIF, POSCAR, reasons_by_id

from dglframer.common.errors import ConfigError, UserError
from dglframer.config.data import DatasetConfig
from dglframer.data.crystals import validated
from dglframer.data.rejections import Rejections, check_rejected_share
from dglframer.data.sources import open_source

CUBIC = POSCAR.format("x")
ENTRY = {
    "lattice_mat": [[4.2, 0, 0], [0, 4.2, 0], [0, 0, 4.2]],
    "coords": [[0, 0, 0], [0.5, 0.5, 0.5]],
    "elements": ["Cs", "Cl"],
    "cartesian": False,
}


def content(name: str) -> bytes:
    """CsCl in the form that the name asks for."""
    text = CUBIC
    if ".cif" in name:
        text = CIF
    elif ".json" in name:
        text = json.dumps(ENTRY)
    return gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()


@pytest.fixture
def opened(tmp_path):
    """A function that writes files and a table and opens the source."""
    folder = tmp_path / "crystals"

    def open_folder(files, table, targets=("gap",), name="targets.csv"):
        for path in files:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content(path))
        where = folder if name == "id_prop.csv" else tmp_path
        (where / name).write_bytes(table if isinstance(table, bytes) else table.encode())
        named = {} if name == "id_prop.csv" else {"targets_csv": str(where / name)}
        return open_source(
            DatasetConfig(source="folder", path=str(folder), targets=targets, **named)
        )

    open_folder.folder = folder
    return open_folder


def read(source, targets=("gap",)):
    """(labels by id of the valid ones, reasons by id of the others)."""
    rejections = Rejections()
    valid = list(validated(source.records(), targets, rejections))
    labels = {one.id: tuple(one.labels.values()) for one in valid}
    first = {id: values[0] for id, values in labels.items()} if len(targets) == 1 else labels
    return first, reasons_by_id(rejections)


# tables


@pytest.mark.parametrize(
    "table",
    [
        "id,gap\na,1\nb,2.5\n",
        "id;gap\na;1\nb;2.5\n",
        "id\tgap\na\t1\nb\t2.5\n",
        "id;gap\na;1\nb;2,5\n",
        "id\tgap\na\t1\nb\t2,5\n",
        "ID,gap\na,1\nb,2.5\n",
        "Material_ID,gap\na,1\nb,2.5\n",
        "file,gap\na.cif,1\nb.vasp,2.5\n",
        "FileName , gap\na , 1\n b.vasp,2.5\n",
        "gap,filename\n1,a\n2.5,b\n",
        "id,filename,gap\n7,a.cif,1\n8,b.vasp,2.5\n",
        "id,gap,\na,1,\nb,2.5,\n",
        ",id,gap\n0,a,1\n1,b,2.5\n",
        'id,gap,note\n"a",1,"x, y; z"\nb,2.5,\n',
        "id,gap\r\n\r\na,1\r\nb,2.5\r\n,,\r\n",
        b"\xef\xbb\xbfid;gap\na;1\nb;2,5\n",
        "id,gap\na,1\nb,2.5\n".encode("utf-16"),
        "a,1\nb,2.5\n",
        "a;1\nb;2,5\n",
        "a.cif\t1\nb.vasp\t2.5\n",
        "file,gap\ncrystals/a.cif,1\n./b.vasp,2.5\n",
        "file,gap\ncrystals\\a.cif,1\n.\\b.vasp,2.5\n",
    ],
)
def test_spellings_of_one_table(opened, table):
    assert read(opened(["a.cif", "b.vasp"], table)) == ({"a": 1, "b": 2.5}, {})


def test_table_without_header_is_found_in_the_folder(opened):
    """The layout of CGCNN, which keeps a JSON file of its own there."""
    opened.folder.mkdir()
    (opened.folder / "atom_init.json").write_text('{"1": [0, 1], "2": [1, 0]}')
    table = "a.cif,1,-1\nb,2,nan\n"
    source = opened(["a.cif", "b.cif"], table, ("gap", "energy"), "id_prop.csv")
    assert [path.name for path in source.files()] == ["id_prop.csv", "a.cif", "b.cif"]
    valid, reasons = read(source, ("gap", "energy"))
    assert valid == {"a": (1, -1), "b": (2, None)} and not reasons


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "a,1,2\nb,2,3\n",
            "no header, and 2 values in a row for the targets gap; name the columns",
        ),
        ("name,gap\na,1\n", r"no column id \(or material_id, jid"),
        ("a b c\n", "no column id"),
        ("\n", "no column id"),
        ("id,gap,gap\na,1,2\n", "column gap is there twice"),
        ("id,gap\na,1\n a,2\n", "id a stands in two rows"),
        ("id;gap\na;0,5\nb;1.250\n", "column gap has 0,5 and 1.250: which is decimal?"),
        ("id,gap\na,1 \u00b1\n".encode("latin-1"), "not a CSV file in UTF-8"),
    ],
)
def test_table_that_can_be_read_in_two_ways_or_none_is_refused(opened, table, message):
    with pytest.raises(ConfigError, match=rf"targets\.csv: .*{message}"):
        opened(["a.cif", "b.vasp"], table)


def test_no_table_and_no_files_are_said(opened, tmp_path):
    (tmp_path / "empty").mkdir()
    dataset = {"source": "folder", "path": str(tmp_path / "empty")}
    with pytest.raises(ConfigError, match=r"targets_csv is needed: there is no id_prop\.csv in"):
        open_source(DatasetConfig(**dataset))
    with pytest.raises(ConfigError, match=r"no structure file in .*/crystals; read are \.cif, "):
        opened(["notes.txt"], "id,gap\na,1\n")


@pytest.mark.parametrize("value", ["", "na", "N/A", "NaN", "null", "None", "-", "<NA>"])
def test_words_for_no_label(opened, value):
    valid, reasons = read(opened(["a.cif", "b.cif"], f"id,gap\na,{value}\nb,1\n"))
    assert valid == {"b": 1} and reasons == {"a": "no label gap"}


# layouts


@pytest.mark.parametrize(
    ("files", "rows", "ids"),
    [
        (["mp-1/POSCAR", "mp-2/POSCAR"], ["mp-1", "mp-2"], None),
        (["mp-1/POSCAR", "mp-2/CONTCAR.gz"], ["mp-1/POSCAR", "mp-2/CONTCAR"], None),
        (["x/mp-1/CONTCAR", "x/mp-2/CONTCAR"], ["x/mp-1", "mp-2"], None),
        (["1/a.cif.gz", "2/b.cif.gz"], ["a", "b.cif.gz"], ["a", "b"]),
        (["1/a.cif.gz", "2/b.json"], ["1", "2"], None),
        (["POSCAR_0.25", "POSCAR_0.50"], ["POSCAR_0.25", "POSCAR_0.50"], None),
        (["POSCAR", "run/POSCAR"], ["POSCAR", "run/POSCAR"], None),
        (["a.cif", "a.vasp"], ["a.cif", "a.vasp"], None),
        (["x/a.cif", "y/a.cif"], ["x/a", "y/a.cif"], ["x/a", "y/a"]),
        (["001.cif", "010.cif"], ["1", "10"], None),
        (["1.cif", "2.cif"], ["001", "02"], None),
        (["1.cif", "01.cif"], ["1", "01"], None),
        (["x=0.25.cif", "a b.json.gz"], ["x=0.25", "a b"], None),
        (["CO.cif", "Co.cif"], ["Co", "CO"], None),
    ],
)
def test_rows_find_their_files(opened, files, rows, ids):
    valid, reasons = read(opened(files, f"id,gap\n{rows[0]},1\n{rows[1]},2\n"))
    assert reasons == {}
    assert valid == dict(zip(ids or rows, (1, 2), strict=True))


@pytest.mark.parametrize(
    ("files", "rows", "doubts"),
    [
        (["a/CONTCAR", "b/CONTCAR"], ["CONTCAR"], {"a/CONTCAR", "b/CONTCAR"}),
        (["run/CONTCAR", "run/POSCAR"], ["run"], {"CONTCAR", "POSCAR"}),
        (["a.cif", "a.vasp"], ["a"], {"a.cif", "a.vasp"}),
        (["a.cif", "a.vasp"], ["a", "a.cif"], {"a.vasp"}),
        (["001.cif", "01.cif"], ["1"], {"001", "01"}),
        (["001.cif"], ["1", "01"], {"001"}),
        (["run/CONTCAR"], ["run", "CONTCAR"], None),
    ],
)
def test_row_that_fits_twice_is_not_guessed(opened, files, rows, doubts):
    table = "id,gap\nok,0\n" + "".join(f"{row},1\n" for row in rows)
    valid, reasons = read(opened([*files, "ok.cif"], table))
    if doubts is None:  # the whole name is better than the folder
        assert valid == {"ok": 0, "CONTCAR": 1} and "no structure file" in reasons["run"]
        return
    assert doubts <= reasons.keys() and doubts.isdisjoint(valid)
    assert all("fit" in reasons[id] and "write the path in the id" in reasons[id] for id in doubts)
    assert {"ok"} <= valid.keys() <= {"ok", "a.cif"}


def test_case_of_letters_is_not_guessed_but_said(opened):
    """CO is not Co."""
    valid, reasons = read(opened(["CO.cif", "b.cif"], "id,gap\nCo,1\nb,2\n"))
    assert valid == {"b": 2}
    assert reasons == {
        "CO": "no label: no row in targets.csv",
        "Co": "no structure file for this row of targets.csv; CO differs in the case of its "
        "letters only: write it so",
    }


def test_ending_that_is_not_known_is_said(opened):
    _, reasons = read(opened(["a.pdb", "b.cif"], "id,gap\na,1\nb,2\n"))
    assert "; the ending of a.pdb is not known: read are .cif, " in reasons["a"]


def test_leading_zeros_are_a_message(opened, caplog):
    with caplog.at_level(logging.WARNING):
        read(opened(["001.cif", "b.cif"], "id,gap\n1,1\nb,2\n"))
    assert "matched without their leading zeros: 1 is 001" in caplog.text


def test_both_spellings_of_a_material_are_one(opened, caplog):
    """mp-ft is 149: f = 5 and t = 19, to the base 26."""
    with caplog.at_level(logging.WARNING):
        valid, reasons = read(
            opened(["mp-149.cif", "mp-aaaaaafu.cif"], "id,gap\nmp-ft,1\nmp-150,2\n")
        )
    assert valid == {"mp-ft": 1, "mp-150": 2} and not reasons
    assert (
        "two spellings of the Materials Project: mp-ft is mp-149, mp-150 is mp-aaaaaafu"
        in caplog.text
    )


def test_nothing_that_matches_prints_five_ids_of_each_side(opened):
    rows = "".join(f"mp-{k},1\n" for k in range(7))
    source = opened([f"{letter}.cif" for letter in "abcdef"], "id,gap\n" + rows)
    with pytest.raises(UserError) as error:
        list(source.records())
    assert "ids mp-0, mp-1, mp-2, mp-3, mp-4, ...; the structures a, b, c, d, e" in str(error.value)


def test_files_without_a_row_are_not_bad_ones(opened):
    """Unlike rows without a file."""
    files = [f"{k}.cif" for k in range(10)]
    (opened.folder).mkdir()
    (opened.folder / "broken.cif").write_bytes(b"\x00")
    source = opened(files, "id,gap\n0,1\n1,2\n")
    rejections = Rejections()
    assert len(list(validated(source.records(), ["gap"], rejections))) == 2
    assert (len(rejections), rejections.count_labelled()) == (9, 0)
    check_rejected_share(2, rejections, 0.0)
    assert reasons_by_id(rejections)["broken"].startswith("no label: no row in targets.csv; cannot")
    _, reasons = read(opened(files, "id,gap\n0,1\nx,2\n"))
    assert reasons["x"] == "no structure file for this row of targets.csv"


def test_hidden_files_and_sidecars_are_passed_over(opened, caplog):
    files = ["a.cif", "._a.cif", ".ipynb_checkpoints/a.cif", "sub/b.cif.gz", "b.txt"]
    opened.folder.mkdir()
    (opened.folder / "a.json").write_text('{"energy": 1.5}')
    (opened.folder / "loop").symlink_to(opened.folder)
    with caplog.at_level(logging.INFO):
        source = opened(files, "id,gap\na,1\nb,2\n")
    assert read(source) == ({"a": 1, "b": 2}, {})
    assert "1 JSON files without structures are left out: a.json" in caplog.text


# several structures in a file


def write_frames(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    one = Atoms("CsCl", scaled_positions=[[0] * 3, [0.5] * 3], cell=[4.2] * 3, pbc=True)
    frames = [one.copy() for _ in ids]
    for frame, id in zip(frames, ids, strict=True):
        frame.info.update({} if id is None else {"id": id})
    ase.io.write(path, frames)


@pytest.mark.parametrize("name", ["run.extxyz", "run.traj", "sub/run.extxyz"])
def test_structures_of_one_file_have_rows_of_their_own(opened, name):
    write_frames(opened.folder / name, [None, "named", "007"])
    valid, reasons = read(opened(["b.cif"], "id,gap\nrun-0,1\nnamed,2\n7,3\nb,4\n"))
    assert reasons == {} and valid == {"run-0": 1, "named": 2, "7": 3, "b": 4}


def test_row_for_a_file_of_several_structures_is_not_given_to_one_of_them(opened):
    write_frames(opened.folder / "run.extxyz", [None, None])
    valid, reasons = read(opened(["b.cif"], "id,gap\nrun,1\nb,4\n"))
    assert valid == {"b": 4}
    assert reasons["run"] == (
        "no structure file for this row of targets.csv; run.extxyz holds several structures: "
        "run-0, ..."
    )
    assert reasons["run-0"] == reasons["run-1"] == "no label: no row in targets.csv"


def test_single_structure_goes_by_its_file_or_by_its_own_id(opened):
    write_frames(opened.folder / "x.extxyz", ["mine"])
    write_frames(opened.folder / "y.extxyz", ["yours"])
    valid, reasons = read(opened(["b.cif"], "id,gap\nmine,1\ny,2\n"))
    assert valid == {"mine": 1, "y": 2} and list(reasons) == ["b"]
