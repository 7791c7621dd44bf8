"""Molecules: crystals without a lattice, graphs without images, and the same network."""

import numpy as np
import pytest
import torch

from dglframer.common.parquet import write_parquet
from dglframer.config.data import GraphsConfig
from dglframer.config.networks import CrystalFramerConfig
from dglframer.data.crystals import crystals_table
from dglframer.graphs.batch import batch_graphs
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.shard_table import shard_graphs
from dglframer.graphs.shards import read_manifest, read_shard, write_graphs
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.structures.crystal import Crystal, Record, validate
from dglframer.structures.periodic_graph import build_graph

CUTOFF = 4.0
BOX = 60.0  # angstrom: nothing sees its own image
ETHANOL = "C C O H H H H H H".split()
ETHANOL_N3 = [
    [0.0072, -0.5687, 0.0],
    [-1.2854, 0.2499, 0.0],
    [1.1304, 0.3147, 0.0],
    [0.0392, -1.1972, 0.89],
    [0.0392, -1.1972, -0.89],
    [-1.3175, 0.8784, 0.89],
    [-1.3175, 0.8784, -0.89],
    [-2.1422, -0.4239, 0.0],
    [1.9857, -0.1365, 0.0],
]


@pytest.fixture
def ethanol() -> Crystal:
    return validate(Record("ethanol", ETHANOL, None, ETHANOL_N3, {"gap": 0.3}), ["gap"])


@pytest.fixture
def boxed(ethanol) -> Crystal:
    frac_N3 = np.array(ETHANOL_N3) / BOX + 0.5
    return validate(Record("boxed", ETHANOL, BOX * np.eye(3), frac_N3, {"gap": 0.3}), ["gap"])


def test_edges_are_the_pairs_within_the_cutoff_and_the_atoms_themselves(ethanol):
    graph = build_graph(ethanol, CUTOFF)
    coords_N3 = np.array(ETHANOL_N3)
    distances_NN = np.linalg.norm(coords_N3[:, None] - coords_N3, axis=-1)
    expected = [(i, j) for i in range(9) for j in range(9) if distances_NN[i, j] <= CUTOFF]
    assert 9 < len(expected) < 81  # the cutoff leaves some out
    src, dst, image = graph.edges
    assert list(zip(dst, src, strict=True)) == expected
    assert image.shape == (len(expected), 3) and not image.any()
    np.testing.assert_array_equal(graph.vectors_E3, coords_N3[src] - coords_N3[dst])


@pytest.mark.parametrize("cutoff", [0.5, 1.0, 2.5, CUTOFF, 12.0])
def test_graph_is_that_of_the_molecule_in_an_empty_box(ethanol, boxed, cutoff):
    alone, in_box = build_graph(ethanol, cutoff), build_graph(boxed, cutoff)
    for a, b in zip(alone.edges, in_box.edges, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(alone.vectors_E3, in_box.vectors_E3, atol=1e-12)


def test_atom_exactly_at_the_cutoff_is_a_neighbour():
    one = validate(Record("h2", ["H", "H"], None, [[0, 0, 0], [0, 0, 3.0]]))
    assert len(build_graph(one, 3.0).edges.src_E) == 4
    assert len(build_graph(one, 2.9999).edges.src_E) == 2


def test_isolated_atom_has_its_self_edge():
    graph = build_graph(validate(Record("he", ["He"], None, [[1.0, 2.0, 3.0]])), CUTOFF)
    assert len(graph.edges.src_E) == 1


def test_network_gives_the_molecule_what_it_gives_the_box(ethanol, boxed):
    settings = CrystalFramerConfig(blocks=2, width=16, heads=2, feedforward=16)
    network = CrystalFramer(settings).double().draw(0).eval()
    batch = batch_graphs([build_graph(one, CUTOFF) for one in (ethanol, boxed)], torch.float64)
    network.calibrate(batch)
    with torch.no_grad():
        alone, in_box = network(batch)
    assert torch.isfinite(alone).all()
    torch.testing.assert_close(alone, in_box, rtol=0, atol=1e-10)


def test_shards_give_molecules_and_crystals_back(ethanol, boxed, tmp_path):
    table = crystals_table([ethanol, boxed], "test", ["gap"], {"gap": "hartree"})
    write_parquet(tmp_path / "crystals.parquet", table)
    write_graphs(
        tmp_path / "crystals.parquet",
        tmp_path / "graphs",
        GraphsConfig(cutoff_angstrom=CUTOFF, crystals_per_shard=8),
    )
    (entry,) = read_manifest(tmp_path / "graphs")["shards"]
    in_box, alone = shard_graphs(read_shard(tmp_path / "graphs", entry), ["gap"])
    assert (in_box.id, alone.id) == ("boxed", "ethanol")
    assert alone.lattice_33 is None and in_box.lattice_33 is not None
    np.testing.assert_array_equal(alone.vectors_E3, build_graph(ethanol, CUTOFF).vectors_E3)
    np.testing.assert_array_equal(in_box.vectors_E3, build_graph(boxed, CUTOFF).vectors_E3)
    dataset = GraphDataset(tmp_path / "graphs", ["ethanol", "boxed"])
    batch = dataset.collate([dataset[0], dataset[1]])
    assert batch.ids == ("ethanol", "boxed")
    assert not batch.lattice_B33[0].any() and batch.lattice_B33[1].trace() == 3 * BOX


def test_the_sum_over_atoms_grows_with_the_molecule_and_the_mean_does_not(ethanol):
    """Two molecules far apart, in one graph: features twice those of one, summed; equal, averaged."""
    far = np.concatenate([ETHANOL_N3, np.array(ETHANOL_N3) + 50.0])
    two = validate(Record("two", ETHANOL * 2, None, far.tolist(), {"gap": 0.6}), ["gap"])
    batch = batch_graphs([build_graph(one, CUTOFF) for one in (ethanol, two)], torch.float64)
    encoded = {}
    for pooling in ("mean", "sum", "max"):
        settings = CrystalFramerConfig(blocks=1, width=16, heads=2, feedforward=16, pooling=pooling)
        network = CrystalFramer(settings).double().draw(0).eval()
        network.calibrate(batch)
        network.head = torch.nn.Identity()  # what is pooled, as it is
        encoded[pooling] = network(batch).detach()
    ratio = {"mean": 1, "sum": 2, "max": 1}
    for pooling, (one, both) in encoded.items():
        torch.testing.assert_close(both, ratio[pooling] * one, atol=1e-10, rtol=0)
    assert (encoded["max"] - encoded["mean"]).abs().max() > 1e-3
