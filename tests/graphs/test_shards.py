"""Building shards: by any number of processes, once each, and of any size of crystal."""

import multiprocessing
import os
import signal
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.crystals import TARGETS, TINY_CUTOFF, crystal, write_crystals

from dglframer.common.errors import DamagedFile
from dglframer.common.parquet import (
    RowReader,
    hash_of_table,
    parquet_batches,
    read_parquet,
    read_rows,
)
from dglframer.config.data import COLUMNS, GraphsConfig
from dglframer.data.crystals import crystals_schema
from dglframer.graphs import shards as module
from dglframer.graphs.shard_table import shard_schema
from dglframer.graphs.shards import (
    build_shards,
    count_parts,
    expected_edges,
    plan_shards,
    read_manifest,
    read_shard,
    write_graphs,
)
from dglframer.structures.neighbors import periodic_edges

CONFIG = GraphsConfig(cutoff_angstrom=TINY_CUTOFF, crystals_per_shard=2)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


@pytest.fixture
def built(tiny_run, tmp_path):
    write_graphs(tiny_run.crystals, tmp_path / "graphs", CONFIG)
    return tmp_path / "graphs"


@pytest.fixture
def made(monkeypatch):
    """The names of the shards that are built from now on."""
    names = []
    build = module.build_shard

    def watching(rows, path, *others):
        names.append(path.name)
        return build(rows, path, *others)

    monkeypatch.setattr(module, "build_shard", watching)
    return names


@pytest.mark.parametrize("parts", [1, 2, 4, 9])
def test_parts_leave_the_bytes_of_one_process(tiny_run, tmp_path, built, made, parts):
    """In any order, more parts than shards included; the manifest builds nothing again."""
    for part in reversed(range(1, parts + 1)):
        build_shards(tiny_run.crystals, tmp_path / "other", CONFIG, "", part, parts)
    assert sorted(made) == [f"shard-{k:05d}.parquet" for k in range(6)]
    write_graphs(tiny_run.crystals, tmp_path / "other", CONFIG)
    assert len(made) == 6 and files(tmp_path / "other") == files(built)


def test_a_killed_build_goes_on_with_what_is_missing(tiny_run, tmp_path, built, made, monkeypatch):
    before = files(built)
    (built / "shard-00001.parquet").unlink()  # killed before it was written,
    (built / "built" / "shard-00002.json").unlink()  # or before its note was,
    (built / "shard-00003.parquet").write_bytes(before.popitem()[1][:100])  # or damaged since
    (built / "built" / "shard-00005.json").write_text('{"made_from"')
    write_graphs(tiny_run.crystals, built, CONFIG)
    assert made == [f"shard-{k:05d}.parquet" for k in (1, 2, 3, 5)]
    write_graphs(tiny_run.crystals, tmp_path / "anew", CONFIG)
    assert files(built) == files(tmp_path / "anew")


def flip(path, group=0):
    """Change the last byte of the ids of a row group."""
    column = pq.read_metadata(path).row_group(group).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    content = bytearray(path.read_bytes())
    content[start + column.total_compressed_size - 1] ^= 1
    path.write_bytes(content)


def test_a_flipped_byte_is_named_with_its_row_group_and_how_to_mend_it(built):
    manifest = read_manifest(built)
    flip(built / "shard-00002.parquet")
    read_shard(built, manifest["shards"][1])
    with pytest.raises(DamagedFile) as error:
        read_shard(built, manifest["shards"][2])
    for part in ("shard-00002.parquet, row group 0", "--forcerun graphs", "this shard alone"):
        assert part in str(error.value)


@pytest.mark.parametrize("group", [0, 2])
def test_each_reader_of_crystals_names_the_damaged_row_group(tiny_run, tmp_path, group):
    """Whole, in pieces, and some rows of it: each verifies the checksums of the pages."""
    path = tmp_path / "crystals.parquet"
    pq.write_table(
        read_parquet(tiny_run.crystals), path, row_group_size=4, write_page_checksum=True
    )
    flip(path, group)
    name = rf"crystals\.parquet, row group {group}: .*(?i:crc|checksum)"
    readers = {
        "whole": lambda: read_parquet(path, ["id"]),
        "in pieces": lambda: list(parquet_batches(path, ["id"])),
        "in pieces of one row": lambda: list(parquet_batches(path, rows=1)),
        "some rows": lambda: read_rows(path, 4 * group, 4 * group + 2, ["id"]),
    }
    for how, read in readers.items():
        with pytest.raises(DamagedFile, match=name):
            pytest.fail(f"{how}: {read()}")


def test_what_killed_writers_left_is_removed(tiny_run, built):
    for name in (".shard-00001.parquet.tmp-123", "built/.shard-00001.json.tmp-4"):
        (built / name).write_bytes(b"PAR1")
    before = files(built)
    write_graphs(tiny_run.crystals, built, CONFIG)
    assert not list(built.rglob(".*"))
    assert files(built) == {path: one for path, one in before.items() if path.name[0] != "."}


def test_a_kill_inside_the_writing_of_a_shard_leaves_none(tiny_run, tmp_path, built):
    """A real kill, after the first bytes of the third shard; the rerun ends with the same bytes."""
    folder = tmp_path / "killed"

    def build() -> None:
        write_table = pq.ParquetWriter.write_table

        def killed(writer, table, *others):
            write_table(writer, table, *others)
            if list(folder.glob(".shard-00002*")):
                os.kill(os.getpid(), signal.SIGKILL)

        pq.ParquetWriter.write_table = killed
        write_graphs(tiny_run.crystals, folder, CONFIG)

    process = multiprocessing.get_context("fork").Process(target=build)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert sorted(path.name for path in folder.glob("shard-*")) == [
        "shard-00000.parquet",
        "shard-00001.parquet",
    ]
    (half,) = folder.glob(".shard-*")
    assert half.stat().st_size > 4 and not (folder / "manifest.json").exists()
    with pytest.raises(DamagedFile):
        read_parquet(half)
    write_graphs(tiny_run.crystals, folder, CONFIG)
    assert files(folder) == files(built) and not list(folder.rglob(".*"))


def test_shards_of_other_settings_are_not_taken(tiny_run, built, made):
    changed = CONFIG.model_copy(update={"cutoff_angstrom": 4.0})
    write_graphs(tiny_run.crystals, built, changed)
    write_graphs(tiny_run.crystals, built, changed, config_hash="of another format version")
    assert len(made) == 12


def test_only_the_shard_of_a_changed_crystal_is_built_again(tiny_run, tmp_path, built, made):
    one = tiny_run.valid[4]
    one.labels[TARGETS[0]], label = 0.5, one.labels[TARGETS[0]]
    try:
        write_crystals(tmp_path / "crystals.parquet", tiny_run.valid)
    finally:
        one.labels[TARGETS[0]] = label
    manifest = write_graphs(tmp_path / "crystals.parquet", built, CONFIG)
    assert made == ["shard-00002.parquet"]
    assert read_parquet(built / made[0])[TARGETS[0]][0].as_py() == 0.5
    assert manifest["shards"][2]["sha256"] != tiny_run.manifest["shards"][2]["sha256"]


def planned(crystals, config):
    """The plan of a whole file."""
    with RowReader(crystals) as reader:
        return list(plan_shards(reader, config))


@pytest.mark.parametrize("parts", [1, 2, 5, 12])
def test_a_part_is_planned_from_its_own_blocks(tiny_run, monkeypatch, parts):
    """Blocks of five rows: shards end there, and each part reads the blocks that it touches."""
    monkeypatch.setattr(module, "ROWS_PER_BLOCK", 5)
    whole = planned(tiny_run.crystals, CONFIG)
    spans = [(0, 2), (2, 4), (4, 5), (5, 7), (7, 9), (9, 10), (10, 12)]
    assert whole == [
        (number, *span) for number, span in zip((0, 1, 2, 5, 6, 7, 10), spans, strict=True)
    ]
    read = []

    class Watched(RowReader):
        def read(self, first, stop, columns):
            read.append((first, stop))
            return super().read(first, stop, columns)

    found = []
    for part in range(parts):
        first, stop = part * 12 // parts, (part + 1) * 12 // parts
        read.clear()
        with Watched(tiny_run.crystals) as reader:
            found += plan_shards(reader, CONFIG, first, stop)
        assert read == [block for block in ((0, 5), (5, 10), (10, 12))
                        if block[0] < stop and block[1] > first]  # fmt: skip
    assert found == whole


def framework(id, repeats):
    """A cell of 2 repeats^3 sites."""
    sites = np.array(list(np.ndindex(repeats, repeats, repeats)))
    frac_N3 = np.concatenate([sites, sites + 0.5]) / repeats
    symbols = "Cs " * len(sites) + "Cl " * len(sites)
    labels = dict.fromkeys(TARGETS, 0.0)
    return crystal(id, symbols, 4.12 * repeats * np.eye(3), frac_N3, **labels)


def test_large_crystals_make_small_shards(tmp_path):
    """One 686-atom framework among small cells: no shard expects more edges than it alone."""
    crystals = [framework(f"{k:02d}", 7 if k == 5 else 1) for k in range(20)]
    write_crystals(tmp_path / "crystals.parquet", crystals)
    edges = [
        len(periodic_edges(one.lattice_33, one.coords_N3, TINY_CUTOFF).src_E) for one in crystals
    ]
    expected = expected_edges(read_parquet(tmp_path / "crystals.parquet"), TINY_CUTOFF)
    np.testing.assert_allclose(expected, edges, rtol=0.25)
    budget = int(4.5 * edges[0])
    config = GraphsConfig(cutoff_angstrom=TINY_CUTOFF, crystals_per_shard=6, edges_per_shard=budget)
    numbers, *plan = zip(*planned(tmp_path / "crystals.parquet", config), strict=True)
    assert numbers == tuple(range(len(numbers)))
    plan = list(zip(*plan, strict=True))
    assert [row for first, stop in plan for row in range(first, stop)] == list(range(20))
    assert (5, 6) in plan and max(stop - first for first, stop in plan) == 4
    by_count = planned(tmp_path / "crystals.parquet", CONFIG)
    assert all(stop - first == 2 for _, first, stop in by_count[:2])


def test_a_molecule_counts_all_its_pairs_among_crystals(tmp_path):
    """Six atoms without a lattice between two crystals, in any row group."""
    cell = framework("a", 1)
    molecule = replace(framework("m", 3), lattice_33=None, coords_N3=3.0 * np.eye(6, 3), id="m")
    molecule = replace(molecule, numbers_N=molecule.numbers_N[:6])
    write_crystals(tmp_path / "crystals.parquet", [cell, molecule, replace(cell, id="z")])
    first, of_molecule, last = expected_edges(
        read_parquet(tmp_path / "crystals.parquet"), TINY_CUTOFF
    )
    n, volume = len(cell.numbers_N), float(np.linalg.det(cell.lattice_33))
    assert first == last == n * n * (4 / 3 * np.pi * TINY_CUTOFF**3 / volume)
    assert of_molecule == 36


def test_no_crystals_make_no_shards(tmp_path):
    write_crystals(tmp_path / "crystals.parquet", [])
    manifest = write_graphs(tmp_path / "crystals.parquet", tmp_path / "graphs", CONFIG)
    assert (manifest["crystals"], manifest["shards"]) == (0, [])
    assert build_shards(tmp_path / "crystals.parquet", tmp_path / "graphs", CONFIG, "", 2, 3) == []
    empty = read_parquet(tmp_path / "crystals.parquet")
    assert hash_of_table(empty) == hash_of_table(empty.slice(0, 0))
    assert hash_of_table(empty) != hash_of_table(empty.select(["id"]))


def test_no_target_can_have_the_name_of_another_column():
    assert set(COLUMNS) == {*crystals_schema([], {}).names, *shard_schema({}).names}


def test_rows_are_read_from_any_row_groups(tiny_run, tmp_path):
    """The same rows, and the same hash, however the file is cut into row groups."""
    table = read_parquet(tiny_run.crystals)
    columns = ["id", "numbers", "lattice", *TARGETS]
    for size in (1, 5, 100):
        path = tmp_path / f"{size}.parquet"
        pq.write_table(table, path, row_group_size=size)
        for first, stop in ((0, 12), (0, 1), (3, 7), (5, 10), (11, 12)):
            rows = read_rows(path, first, stop, columns)
            assert rows.equals(table.slice(first, stop - first).select(columns))
            expected = hash_of_table(read_rows(tiny_run.crystals, first, stop, columns))
            assert hash_of_table(rows) == expected
        assert planned(path, CONFIG) == planned(tiny_run.crystals, CONFIG)
    hashes = {hash_of_table(table.slice(k, 2)) for k in range(11)}
    assert len(hashes) == 11


def test_parts_grow_with_the_crystals(tiny_run, tmp_path):
    table = read_parquet(tiny_run.crystals)
    found = []
    for size in (100, 2, 1):
        pq.write_table(table, tmp_path / "crystals.parquet", row_group_size=size)
        found.append(count_parts(tmp_path / "crystals.parquet"))
    assert found == [1, 1, 2]
