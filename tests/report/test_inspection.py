"""dglframer inspect: the same numbers in the terminal, as JSON and on the page."""

import re
from collections import Counter
from html import unescape

import numpy as np
import pyarrow as pa
import pytest
from helpers.crystals import TARGETS, crystal, write_crystals

from dglframer.cli import main as cli
from dglframer.common.elements import SYMBOLS
from dglframer.common.errors import UserError
from dglframer.common.files import read_json
from dglframer.common.parquet import read_parquet, write_parquet
from dglframer.config.data import CleaningConfig
from dglframer.data.cleaning import check_crystals
from dglframer.data.crystals import crystals_table
from dglframer.data.rejections import SCHEMA
from dglframer.report.inspection import inspect
from dglframer.report.inspection_view import (
    PERIODIC_TABLE,
    shade,
    shade_ranges,
    spark,
    terminal_table,
    write_page,
)

REJECTED = [("x", "no atoms", 3), ("y", "no atoms", 4), ("<z>", "no label gap", 9)]


@pytest.fixture
def folder(tmp_path, tiny_run):
    """crystals.parquet of twelve crystals with rejected.parquet beside it."""
    write_crystals(tmp_path / "crystals.parquet", tiny_run.valid)
    rows = [dict(zip(SCHEMA.names, row, strict=True)) for row in REJECTED]
    write_parquet(tmp_path / "rejected.parquet", pa.Table.from_pylist(rows, schema=SCHEMA))
    return tmp_path


@pytest.fixture
def summary(folder):
    checks = check_crystals(folder / "crystals.parquet", CleaningConfig())
    return inspect(folder / "crystals.parquet", read_parquet(folder / "rejected.parquet"), checks)


def test_counts_are_those_of_the_crystals(summary, tiny_run):
    valid = tiny_run.valid
    holding = Counter(SYMBOLS[z - 1] for one in valid for z in set(one.numbers_N.tolist()))
    assert summary["crystals"] == 12 and summary["elements"] == dict(holding)
    assert sum(summary["elements_per_crystal"].values()) == 12
    assert sum(summary["crystal_systems"].values()) == 12
    atoms = [len(one.numbers_N) for one in valid]
    sizes = summary["atoms_per_cell"]
    assert (sizes["min"], sizes["median"], sizes["max"]) == (
        min(atoms),
        np.median(atoms),
        max(atoms),
    )
    volumes = [abs(np.linalg.det(one.lattice_33)) / len(one.numbers_N) for one in valid]
    assert summary["volume_per_atom"]["mean"] == pytest.approx(np.mean(volumes))
    for name in TARGETS:
        labels = np.array([one.labels[name] for one in valid])
        found = summary["labels"][name]
        assert (found["min"], found["max"], found["unit"]) == (labels.min(), labels.max(), "eV")
        assert found["standard_deviation"] == pytest.approx(labels.std())
        assert sum(found["histogram"]["counts"]) == 12


def test_rejected_rows_are_counted_by_reason(summary):
    assert summary["rejected"]["count"] == 3
    assert summary["rejected"]["reasons"][0] == {
        "reason": "no atoms",
        "count": 2,
        "ids": ["x", "y"],
    }


def test_the_verb_writes_what_the_function_says(folder, summary, monkeypatch, capsys):
    page, data = folder / "page.html", folder / "summary.json"
    arguments = ["inspect", folder / "crystals.parquet", "--json", data, "--html", page]
    monkeypatch.setattr("sys.argv", ["dglframer", *map(str, arguments)])
    assert cli.main() == 0
    assert capsys.readouterr().out == terminal_table(summary) + "\n"
    assert read_json(data) == summary
    text = page.read_text(encoding="utf-8")
    assert "no atoms" in text and "<z>" not in text and "<z>" in unescape(text)
    for symbol, count in summary["elements"].items():
        assert f'title="{symbol}: {count}"' in text
    assert text.count("<svg") == 2 + len(TARGETS)
    assert not re.search(r"<script|<link|https?://(?!www\.w3\.org)", text)


def test_the_table_shows_every_part(summary):
    text = terminal_table(summary)
    assert "12 crystals of test" in text and "Rejected rows: 3" in text
    assert "        2  no atoms: x, y" in text
    for name in TARGETS:
        assert name in text
    assert max(map(len, text.splitlines())) <= 120
    assert "no rejected.parquet" in terminal_table(summary | {"rejected": None})


def test_duplicates_and_doubts_are_shown(tmp_path, rocksalt):
    gaps = [
        crystal(f"c{k}", "Na Cl", rocksalt.lattice_33, rocksalt.coords_N3, band_gap=g)
        for k, g in enumerate((5.0, 5.1, -3.0))
    ]
    path = tmp_path / "crystals.parquet"
    write_parquet(path, crystals_table(gaps, "x", ["band_gap"], {"band_gap": "eV"}))
    found = inspect(path, None, check_crystals(path, CleaningConfig(unphysical_labels="drop")))
    assert found["duplicates"] == {
        "searched": True,
        "count": 2,
        "structures": 1,
        "largest": [["c0", "c1", "c2"]],
    }
    assert found["unphysical"]["count"] == found["dropped"]["count"] == 1
    assert found["disagreements"]["count"] == 3
    text = terminal_table(found)
    assert "2 crystals repeat 1" in text and "outside 0 to 25: c2" in text
    write_page(found, tmp_path / "page.html")
    assert "c1, c2" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_molecules_have_no_volume_and_no_system(tmp_path):
    water = crystal("w", "O H H", np.eye(3), [[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    from dataclasses import replace

    path = tmp_path / "crystals.parquet"
    write_parquet(path, crystals_table([replace(water, lattice_33=None)], "x", [], {}))
    found = inspect(path, None, check_crystals(path, CleaningConfig()))
    assert found["volume_per_atom"] is None and found["crystal_systems"] == {"molecule": 1}
    assert "volume per atom" in terminal_table(found)
    write_page(found, tmp_path / "page.html")


def test_a_file_of_other_columns_is_refused_with_what_to_do(tmp_path, monkeypatch, capsys):
    write_parquet(tmp_path / "other.parquet", pa.table({"material_id": ["a"], "source": ["x"]}))
    monkeypatch.setattr("sys.argv", ["dglframer", "inspect", str(tmp_path / "other.parquet")])
    assert cli.main() == 2
    assert (
        "no column id, numbers, lattice, frac_coords; the crystals stage" in capsys.readouterr().err
    )


def test_an_empty_dataset_is_refused(tmp_path):
    path = tmp_path / "crystals.parquet"
    write_parquet(path, crystals_table([], "x", [], {}))
    with pytest.raises(UserError, match="no crystal in it"):
        inspect(path, None, check_crystals(path, CleaningConfig()))


def test_the_periodic_table_has_every_element_once():
    symbols = [symbol for row in PERIODIC_TABLE for symbol in row if symbol != "."]
    assert sorted(symbols) == sorted(SYMBOLS)
    assert {len(row) for row in PERIODIC_TABLE} == {18}


@pytest.mark.parametrize("max_count", [1, 2, 3, 7, 100, 54_321])
def test_shades_cover_every_count(max_count):
    counts = [1, 2, 3, max_count // 2, max_count - 1, max_count]
    shades = [shade(count, max_count) for count in sorted(counts) if 0 < count <= max_count]
    assert shades == sorted(shades) and set(shades) <= {1, 2, 3, 4, 5}
    ranges = shade_ranges(max_count)
    assert ranges[0][0] == 1 and ranges[-1][1] == max_count and shade(0, max_count) == 0


def test_what_is_not_empty_is_seen():
    assert spark([0, 1, 500, 1000]) == " ▁▄█"
