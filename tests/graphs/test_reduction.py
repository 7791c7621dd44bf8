"""Reduced graphs: one atom stands for its orbit, and everything that a batch says stays true."""

import shutil

import numpy as np
import pytest
import torch
from helpers.crystals import (
    TARGETS,
    copper,
    diamond,
    lonely,
    mirror_site,
    quartz,
    rocksalt,
    triclinic,
    write_crystals,
)

from dglframer.config.data import GraphsConfig
from dglframer.config.networks import CrystalFramerConfig, TfnConfig, symmetry_group
from dglframer.graphs.batch import batch_graphs
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.edge_ops import max_of_crystals, pooled
from dglframer.graphs.reduction import computed_sizes, reduction
from dglframer.graphs.shards import read_manifest, write_graphs
from dglframer.structures.periodic_graph import build_graph

CUTOFF = 5.0
CRYSTALS = [one() for one in (quartz, mirror_site, rocksalt, triclinic, copper, diamond, lonely)]
GROUPS = ("proper", "all")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shards of the crystals, in the order of their ids."""
    folder = tmp_path_factory.mktemp("reduced")
    for one in CRYSTALS:
        one.labels.update(dict.fromkeys(TARGETS, float(len(one.numbers_N))))
    write_crystals(folder / "crystals.parquet", CRYSTALS)
    config = GraphsConfig(cutoff_angstrom=CUTOFF, crystals_per_shard=3)
    write_graphs(folder / "crystals.parquet", folder / "graphs", config)
    return folder


def edges_of(batch, atom):
    """(element, distance) of the neighbours of an atom, sorted."""
    span = slice(int(batch.edge_ptr[atom]), int(batch.edge_ptr[atom + 1]))
    elements = batch.numbers_N[batch.src_E[span]].double()
    rows = torch.stack([elements, batch.r_E3[span].norm(dim=1).double()], 1).numpy()
    return rows[np.lexsort((rows[:, 1], rows[:, 0]))]


@pytest.mark.parametrize("group", GROUPS)
def test_every_atom_has_the_edges_of_the_one_that_stands_for_it(group):
    graphs = [build_graph(one, CUTOFF) for one in CRYSTALS]
    whole = batch_graphs(graphs, torch.float64)
    reduced = batch_graphs(graphs, torch.float64, group)
    assert len(reduced.numbers_N) < len(whole.numbers_N) == len(reduced.place_A)
    assert torch.equal(reduced.of_every_atom(reduced.numbers_N), whole.numbers_N)
    assert int(reduced.multiplicity_N.sum()) == len(whole.numbers_N)
    for atom, place in enumerate(reduced.place_A.tolist()):
        expected, found = edges_of(whole, atom), edges_of(reduced, place)
        np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(("group", "atoms"), [("none", 9 + 4 + 2 + 4 + 1 + 2 + 1),
                                              ("proper", 2 + 4 + 2 + 4 + 1 + 1 + 1),
                                              ("all", 2 + 3 + 2 + 4 + 1 + 1 + 1)])  # fmt: skip
def test_what_is_computed(group, atoms):
    sizes = [computed_sizes(build_graph(one, CUTOFF), group) for one in CRYSTALS]
    batch = batch_graphs([build_graph(one, CUTOFF) for one in CRYSTALS], group=group)
    assert sum(size for size, _ in sizes) == len(batch.numbers_N) == atoms
    assert sum(size for _, size in sizes) == len(batch.src_E)
    assert batch.atoms_B.tolist() == [size for size, _ in sizes]


def test_edges_are_sorted_by_centre_and_source():
    one = reduction(build_graph(quartz(), CUTOFF), "proper")
    assert one.place_N.tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1]
    order = np.lexsort((np.arange(len(one.src_F)), one.src_F, one.dst_F))
    assert np.array_equal(order, np.arange(len(order)))
    assert len(set(one.edges_F.tolist())) == len(one.edges_F)


def test_a_crystal_without_symmetry_stays_as_it_is():
    graph = build_graph(triclinic(), CUTOFF)
    whole, reduced = batch_graphs([graph]), batch_graphs([graph], group="all")
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, getattr(reduced, name))
    assert reduced.multiplicity_N.tolist() == [1] * 4


@pytest.mark.parametrize("kind", ["mean", "sum", "max"])
def test_pooling_counts_an_atom_for_its_orbit(kind):
    graphs = [build_graph(one, CUTOFF) for one in CRYSTALS]
    whole, reduced = batch_graphs(graphs), batch_graphs(graphs, group="all")
    x_NF = torch.randn(len(reduced.numbers_N), 3, dtype=torch.float64)
    expected = pooled(reduced.of_every_atom(x_NF), whole, kind)
    torch.testing.assert_close(pooled(x_NF, reduced, kind), expected, rtol=1e-14, atol=1e-14)


def test_equal_atoms_share_the_gradient_of_their_maximum():
    atoms_B = torch.tensor([3, 2])
    x_NF = torch.tensor([[1.0], [4.0], [4.0], [-2.0], [-3.0]], requires_grad=True)
    max_BF = max_of_crystals(x_NF, atoms_B)
    assert max_BF.tolist() == [[4.0], [-2.0]]
    (gradient_NF,) = torch.autograd.grad(max_BF, x_NF, torch.tensor([[-1.0], [2.0]]))
    assert gradient_NF.tolist() == [[0.0], [-0.5], [-0.5], [2.0], [0.0]]


@pytest.mark.parametrize("group", ("none", *GROUPS))
def test_batch_from_shards_equals_batch_from_memory(folder, group):
    dataset = GraphDataset(folder / "graphs", group=group)
    by_id = {one.id: build_graph(one, CUTOFF) for one in CRYSTALS}
    rows = [5, 0, 3, 6]
    one = dataset.collate(rows)
    other = batch_graphs([by_id[dataset.ids[row]] for row in rows], group=group)
    assert one.group == other.group == group
    assert one.tensors().keys() - other.tensors().keys() == {"targets_BT"}
    for name, tensor in other.tensors().items():
        assert torch.equal(getattr(one, name), tensor) and getattr(one, name).dtype == tensor.dtype


def test_a_dataset_counts_whole_crystals_and_changes_its_group(folder):
    whole = GraphDataset(folder / "graphs", ["quartz", "rocksalt", "mirror"])
    whole.targets = whole.arrays["targets"] = whole.targets + 1.0  # as a dataset that hides some
    for group in GROUPS:
        reduced = whole.in_group(group)
        assert reduced.in_group(group) is reduced
        assert reduced.atom_counts().tolist() == whole.atom_counts().tolist() == [9, 2, 4]
        for one, other in zip(reduced.compositions(), whole.compositions(), strict=True):
            assert np.array_equal(one, other)
        assert reduced.edge_counts().sum() < whole.edge_counts().sum()
        batch = reduced.collate(reduced.rows)
        assert batch.ids == ("quartz", "rocksalt", "mirror")
        assert batch.targets_BT[:, 0].tolist() == [10, 3, 5]
        assert reduced.at_most(4).ids == ["rocksalt", "mirror"]


def test_the_caches_of_the_groups_stand_side_by_side(folder, tmp_path):
    graphs = shutil.copytree(folder / "graphs", tmp_path / "graphs")
    for _ in range(2):
        for group in ("none", *GROUPS):
            GraphDataset(graphs, group=group)
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_the_manifest_counts_what_is_computed(folder):
    manifest = read_manifest(folder / "graphs")
    graphs = [build_graph(one, CUTOFF) for one in CRYSTALS]
    for group in GROUPS:
        batch = batch_graphs(graphs, group=group)
        assert manifest[f"{group}_atoms"] == len(batch.numbers_N)
        assert manifest[f"{group}_edges"] == len(batch.src_E)


def test_a_batch_moves_with_its_places():
    batch = batch_graphs([build_graph(quartz(), CUTOFF)], group="proper").to("cpu", torch.float64)
    assert batch.group == "proper" and batch.place_A.tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert batch.multiplicity_N.tolist() == [3, 6] and batch.r_E3.dtype == torch.float64


@pytest.mark.parametrize(
    ("settings", "group"),
    [
        (CrystalFramerConfig(), "proper"),
        (CrystalFramerConfig(frame="none"), "all"),
        (CrystalFramerConfig(frame="max_static"), "proper"),
        (CrystalFramerConfig(even_third_axis=True), "all"),
        (CrystalFramerConfig(frame="max_static", even_third_axis=True), "all"),
        (CrystalFramerConfig(even_third_axis=True, frame_ties="first"), "none"),
        (CrystalFramerConfig(frame="weighted_pca"), "none"),
        (CrystalFramerConfig(frame="pca"), "none"),
        (CrystalFramerConfig(frame="lattice"), "none"),
        (CrystalFramerConfig(frame_ties="first"), "none"),
        (CrystalFramerConfig(frame="none", frame_ties="first"), "all"),
        (CrystalFramerConfig(frame="none", symmetry="none"), "none"),
        (TfnConfig(), "none"),
    ],
    ids=str,
)
def test_the_group_follows_from_the_frame(settings, group):
    assert symmetry_group(settings) == group
