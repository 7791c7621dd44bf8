"""Graph shards: what goes in comes out, the bytes are always the same, and damage is noticed."""

import json
import random
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.crystals import TARGETS, TINY_CUTOFF, write_crystals

from dglframer.common.errors import DamagedFile
from dglframer.common.files import sha256, write_json
from dglframer.config.data import GraphsConfig
from dglframer.graphs.batch import batch_graphs
from dglframer.graphs.shard_table import shard_graphs, shard_table
from dglframer.graphs.shards import read_manifest, read_shard, write_graphs
from dglframer.structures.periodic_graph import build_graph


@pytest.fixture
def graphs(tiny_run, tmp_path):
    """A copy of the tiny graph folder that a test may damage."""
    return shutil.copytree(tiny_run.graphs, tmp_path / "graphs")


def contents(folder):
    """Name and bytes of the documented files."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def read_all(folder):
    manifest = read_manifest(folder)
    for entry in manifest["shards"]:
        yield from shard_graphs(read_shard(folder, entry), TARGETS)


def assert_equal(one, other):
    assert (one.id, one.labels) == (other.id, other.labels)
    pairs = [(one.numbers_N, other.numbers_N), (one.lattice_33, other.lattice_33)]
    pairs += [(one.coords_N3, other.coords_N3), (one.vectors_E3, other.vectors_E3)]
    for a, b in (*pairs, *zip(one.edges, other.edges, strict=True)):
        assert a.dtype == b.dtype and np.array_equal(a, b)


def test_shards_give_back_the_graphs_of_the_crystals(tiny_run):
    graphs = list(read_all(tiny_run.graphs))
    assert len(graphs) == len(tiny_run.valid) == 12
    for graph, one in zip(graphs, tiny_run.valid, strict=True):
        assert_equal(graph, build_graph(one, TINY_CUTOFF))
        assert graph.labels == one.labels


def test_a_dgl_graph_has_the_same_edges_and_the_batch_the_same_vectors(tiny_run, triclinic):
    for graph in [*read_all(tiny_run.graphs), build_graph(triclinic, 6.0)]:
        batch = batch_graphs([graph])
        src, dst = (column.numpy() for column in batch.graph.edges(order="eid"))
        assert np.array_equal(src, graph.edges.src_E) and np.array_equal(dst, graph.edges.dst_E)
        assert np.array_equal(batch.numbers_N.numpy(), graph.numbers_N)
        assert np.array_equal(batch.r_E3.numpy(), graph.vectors_E3.astype(np.float32))


def test_vectors_are_the_distances_between_the_original_sites(triclinic):
    """Wrapping moves sites by lattice vectors: every r is a difference of sites plus an image."""
    graph = build_graph(triclinic, 6.0)
    difference_E3 = (triclinic.coords_N3 @ triclinic.lattice_33)[graph.edges.src_E]
    difference_E3 = difference_E3 - (triclinic.coords_N3 @ triclinic.lattice_33)[graph.edges.dst_E]
    images = (graph.vectors_E3 - difference_E3) @ np.linalg.inv(triclinic.lattice_33)
    np.testing.assert_allclose(images, np.round(images), atol=1e-9)
    assert np.linalg.norm(graph.vectors_E3, axis=1).max() < 6.0 + 1e-7


def test_isolated_atom_has_its_self_edge_alone(triclinic):
    graph = build_graph(triclinic, 0.5)
    assert np.array_equal(graph.vectors_E3, np.zeros((4, 3)))


@pytest.mark.parametrize("seed", [1, 4])
def test_bytes_do_not_depend_on_the_order_of_crystals(tiny_run, tmp_path, seed):
    shuffled = random.Random(seed).sample(tiny_run.valid, k=12)
    write_crystals(tmp_path / "crystals.parquet", shuffled)
    write_graphs(
        tmp_path / "crystals.parquet",
        tmp_path / "graphs",
        GraphsConfig(cutoff_angstrom=TINY_CUTOFF, crystals_per_shard=5),
    )
    assert contents(tmp_path / "graphs") == contents(tiny_run.graphs)


def test_graphs_do_not_depend_on_the_shard_size(tiny_run, tmp_path):
    write_graphs(
        tiny_run.crystals,
        tmp_path / "graphs",
        GraphsConfig(cutoff_angstrom=TINY_CUTOFF, crystals_per_shard=7),
    )
    for one, other in zip(read_all(tmp_path / "graphs"), read_all(tiny_run.graphs), strict=True):
        assert_equal(one, other)


def test_manifest_is_true(tiny_run):
    manifest = read_manifest(tiny_run.graphs)
    assert manifest == tiny_run.manifest
    assert manifest["cutoff_angstrom"] == TINY_CUTOFF
    assert manifest["targets"] == dict.fromkeys(TARGETS, "eV")
    assert manifest["crystals_sha256"] == sha256(tiny_run.crystals)
    assert [entry["crystals"] for entry in manifest["shards"]] == [5, 5, 2]
    assert set(contents(tiny_run.graphs)) == {"manifest.json"} | {
        entry["file"] for entry in manifest["shards"]
    }
    for entry in manifest["shards"]:
        graphs = list(shard_graphs(read_shard(tiny_run.graphs, entry), TARGETS))
        assert entry["sha256"] == sha256(tiny_run.graphs / entry["file"])
        assert entry["atoms"] == sum(len(graph.numbers_N) for graph in graphs)
        assert entry["edges"] == sum(len(graph.edges.src_E) for graph in graphs)
    for key in ("crystals", "atoms", "edges"):
        assert manifest[key] == sum(entry[key] for entry in manifest["shards"])


def test_shard_states_units(tiny_run):
    schema = pq.read_schema(tiny_run.graphs / "shard-00000.parquet")
    assert {schema.field(name).metadata[b"unit"] for name in TARGETS} == {b"eV"}
    assert schema.field("lattice").metadata == {b"unit": b"angstrom"}


def test_shard_of_some_rows_is_self_contained(tiny_run):
    table = shard_table([build_graph(one, TINY_CUTOFF) for one in tiny_run.valid], {})
    for graph, one in zip(shard_graphs(table.slice(4, 3)), tiny_run.valid[4:7], strict=True):
        assert graph.id == one.id
        assert np.array_equal(graph.vectors_E3, build_graph(one, TINY_CUTOFF).vectors_E3)


@pytest.mark.parametrize("where", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_flipped_byte_in_a_shard_is_noticed(graphs, where):
    path = graphs / "shard-00001.parquet"
    content = bytearray(path.read_bytes())
    content[int(where * (len(content) - 1))] ^= 0x01
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"shard-00001\.parquet"):
        list(read_all(graphs))


@pytest.mark.parametrize("kept", [None, 0, 100, -1])
def test_absent_empty_or_truncated_shard_is_noticed(graphs, kept):
    path = graphs / "shard-00002.parquet"
    content = path.read_bytes()
    path.unlink()
    if kept is not None:
        path.write_bytes(content[:kept])
    with pytest.raises(DamagedFile, match=r"shard-00002\.parquet"):
        list(read_all(graphs))


def test_shard_of_another_build_is_noticed(graphs, tiny_run, tmp_path):
    """Graphs of two cutoffs are never mixed, although both files are sound."""
    write_graphs(
        tiny_run.crystals,
        tmp_path / "other",
        GraphsConfig(cutoff_angstrom=4.0, crystals_per_shard=5),
    )
    shutil.copy(tmp_path / "other" / "shard-00001.parquet", graphs)
    with pytest.raises(DamagedFile, match=r"shard-00001\.parquet"):
        list(read_all(graphs))


@pytest.mark.parametrize("version", [0, 1, 3, None, "2"])
def test_other_format_version_is_refused(graphs, version):
    manifest = json.loads((graphs / "manifest.json").read_text())
    write_json(graphs / "manifest.json", {**manifest, "format_version": version})
    with pytest.raises(DamagedFile, match=rf"manifest\.json: format {version}"):
        read_manifest(graphs)


@pytest.mark.parametrize("text", [None, "", '{"format_version": 1, "shar'])
def test_absent_or_truncated_manifest_is_named(graphs, text):
    (graphs / "manifest.json").unlink()
    if text is not None:
        (graphs / "manifest.json").write_text(text)
    with pytest.raises(DamagedFile, match=r"manifest\.json"):
        read_manifest(graphs)


def test_rebuild_removes_shards_that_are_no_longer_part(graphs, tiny_run):
    write_graphs(
        tiny_run.crystals, graphs, GraphsConfig(cutoff_angstrom=TINY_CUTOFF, crystals_per_shard=12)
    )
    assert set(contents(graphs)) == {"manifest.json", "shard-00000.parquet"}
    assert len(list(read_all(graphs))) == 12


def test_interrupted_rebuild_is_noticed(graphs, tiny_run, monkeypatch):
    """The manifest comes last: until then the new shards do not pass for the old ones."""

    def crash(path, value):
        if path.name == "manifest.json":
            raise KeyboardInterrupt
        write_json(path, value)

    monkeypatch.setattr("dglframer.graphs.shards.write_json", crash)
    with pytest.raises(KeyboardInterrupt):
        write_graphs(
            tiny_run.crystals, graphs, GraphsConfig(cutoff_angstrom=4.0, crystals_per_shard=5)
        )
    with pytest.raises(DamagedFile, match="shard-00000"):
        list(read_all(graphs))
