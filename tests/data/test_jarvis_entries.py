"""What is in a file of JARVIS: entries become crystals, or have a reason."""

import json

from helpers.jarvis_files import TARGET, jarvis_list

from dglframer.config.data import DatasetConfig
from dglframer.data.crystals import validated
from dglframer.data.rejections import Rejections
from dglframer.data.sources import open_source
from dglframer.data.sources.jarvis import jarvis_file
from dglframer.data.sources.json_list import jarvis_atoms


def test_entries_become_crystals(tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(jarvis_list()))
    rejections = Rejections()
    of_mine = {"path": str(tmp_path / "mine.json"), "targets": (TARGET,)}
    source = open_source(DatasetConfig(source="dft_3d_2021", **of_mine))
    crystals = list(validated(source.records(), [TARGET], rejections))
    assert len(crystals) == 397
    assert [tuple(row.values()) for row in rejections.table().to_pylist()] == [
        ("JVASP-2", "repeated id", 6),
        ("JVASP-3", f"no label {TARGET}", 3),
        ("JVASP-4", f"no label {TARGET}", 4),
    ]
    five = next(one for one in crystals if one.id == "JVASP-5")
    assert five.labels[TARGET] == -1.25 and list(five.numbers_N) == [11, 17]
    assert abs(five.coords_N3[1] - 0.5).max() < 1e-12
    assert five.file_position == 5 and source.unit(TARGET) == "eV/atom"


def test_every_data_set_is_in_the_table_of_jarvis_tools():
    found = {name: jarvis_file(name) for name in ("dft_3d", "megnet", "oqmd_3d_no_cfid")}
    assert found["megnet"] == (26724977, "megnet.json")
    assert all(id > 0 and member.endswith(".json") for id, member in found.values())


def test_fractional_coordinates_are_taken_as_such():
    symbols, lattice, frac = jarvis_atoms(
        {
            "lattice_mat": [[4, 0, 0], [0, 4, 0], [0, 0, 4]],
            "coords": [[0.5, 0, 0]],
            "cartesian": False,
        }
        | {"elements": ["Po"]}
    )
    assert (symbols, frac.tolist(), lattice.shape) == (["Po"], [[0.5, 0, 0]], (3, 3))
