"""The training data: batches hold the graphs they came from, in an order that can be repeated."""

import multiprocessing
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers.crystals import TARGETS, TINY_CUTOFF

from dglframer.common.errors import DamagedFile
from dglframer.config.data import GraphsConfig
from dglframer.data.split import read_split
from dglframer.graphs.batch import batch_graphs, make_batch
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.loading import (
    BudgetedBatches,
    EpochShuffle,
    batches,
    calibration_batch,
    prefetched,
)
from dglframer.graphs.shards import write_graphs
from dglframer.structures.periodic_graph import build_graph


@pytest.fixture
def graphs(tiny_run, tmp_path):
    """A copy of the tiny graph folder, without the cache that other tests made."""
    return shutil.copytree(tiny_run.graphs, tmp_path / "graphs")


@pytest.fixture
def expected(tiny_run):
    """The graphs by id, made anew from the crystals."""
    return {one.id: build_graph(one, TINY_CUTOFF) for one in tiny_run.valid}


def assert_batch_holds(batch, graphs):
    """Every tensor of the batch is the concatenation of the graphs' own arrays."""
    first_atom = first_edge = 0
    assert batch.ids == tuple(graph.id for graph in graphs)
    assert batch.atoms_B.tolist() == [len(graph.numbers_N) for graph in graphs]
    for b, graph in enumerate(graphs):
        atoms = slice(first_atom, first_atom := first_atom + len(graph.numbers_N))
        edges = slice(first_edge, first_edge := first_edge + len(graph.edges.src_E))
        assert np.array_equal(batch.numbers_N[atoms], graph.numbers_N)
        assert np.array_equal(batch.src_E[edges] - atoms.start, graph.edges.src_E)
        assert np.array_equal(batch.dst_E[edges] - atoms.start, graph.edges.dst_E)
        assert np.array_equal(batch.r_E3[edges], graph.vectors_E3.astype(np.float32))
        assert np.array_equal(batch.lattice_B33[b], graph.lattice_33.astype(np.float32))
        assert np.array_equal(batch.coords_N3[atoms], graph.coords_N3.astype(np.float32))
        if batch.targets_BT is not None:
            assert batch.targets_BT[b].tolist() == [graph.labels[name] for name in TARGETS]
    assert len(batch.numbers_N) == first_atom and len(batch.src_E) == first_edge
    counts_N = np.bincount(batch.dst_E, minlength=first_atom)
    assert np.array_equal(batch.edge_ptr, np.concatenate([[0], np.cumsum(counts_N)]))
    assert batch.graph.batch_size == len(graphs)
    assert batch.graph.batch_num_nodes().tolist() == batch.atoms_B.tolist()
    assert all(map(torch.equal, batch.graph.edges(order="eid"), (batch.src_E, batch.dst_E)))


@pytest.mark.parametrize("batch_size", [1, 5, 12, 100])
def test_batches_hold_the_graphs_whatever_their_size(tiny_run, expected, batch_size):
    dataset = GraphDataset(tiny_run.graphs)
    found = list(batches(dataset, batch_size))
    ids = [id for batch in found for id in batch.ids]
    assert ids == dataset.ids == [one.id for one in tiny_run.valid]  # none lost, the last kept
    for batch in found:
        assert_batch_holds(batch, [expected[id] for id in batch.ids])


def test_a_batch_is_drawn_whole_and_its_dgl_graph_made_on_demand(tiny_run, monkeypatch):
    """Feeding has no loop over crystals, and what the fast path does not use is not made."""
    monkeypatch.setattr(GraphDataset, "__getitem__", lambda self, index: 1 / 0)
    (batch,) = batches(GraphDataset(tiny_run.graphs), 12)
    assert "graph" not in vars(batch)
    assert batch.graph is batch.graph
    assert batch.without_dgl().graph is None


def test_dataset_of_some_ids_keeps_their_order(tiny_run, expected):
    ids = [tiny_run.valid[k].id for k in (7, 0, 11)]
    (batch,) = batches(GraphDataset(tiny_run.graphs, ids), 3)
    assert_batch_holds(batch, [expected[id] for id in ids])


def test_unknown_id_is_an_error(tiny_run):
    with pytest.raises(DamagedFile, match="no graph nobody"):
        GraphDataset(tiny_run.graphs, [tiny_run.valid[0].id, "nobody"])


def test_batch_from_memory_equals_batch_from_file(tiny_run, expected):
    dataset = GraphDataset(tiny_run.graphs)
    one, other = dataset.collate([3, 1]), batch_graphs([expected[dataset.ids[k]] for k in (3, 1)])
    assert one.tensors().keys() - other.tensors().keys() == {"targets_BT"}
    for name, tensor in other.tensors().items():
        assert torch.equal(getattr(one, name), tensor) and getattr(one, name).dtype == tensor.dtype
    double = batch_graphs(list(expected.values()), torch.float64)
    exact = np.concatenate([graph.vectors_E3 for graph in expected.values()])
    assert double.r_E3.dtype == torch.float64 and np.array_equal(double.r_E3, exact)
    lattices = np.stack([graph.lattice_33 for graph in expected.values()])
    assert np.array_equal(double.lattice_B33, lattices)
    single = double.to("cpu", torch.float32)
    assert {single.r_E3.dtype, single.lattice_B33.dtype, single.coords_N3.dtype} == {torch.float32}


def test_atom_without_edges_has_an_empty_range():
    empty = np.array([], dtype=np.int32)
    src = [np.array([0, 2], dtype=np.int32), empty]
    r = [np.zeros((2, 3), np.float32), np.zeros((0, 3), np.float32)]
    numbers, frac = [np.array([1, 1, 1]), np.array([8])], [np.zeros((3, 3)), np.zeros((1, 3))]
    batch = make_batch(numbers, src, src, r, np.zeros((2, 3, 3)), frac)
    assert batch.edge_ptr.tolist() == [0, 1, 1, 2, 2]


def order(dataset, seed, epoch):
    shuffle = EpochShuffle(len(dataset), seed)
    shuffle.epoch = epoch
    return [id for batch in batches(dataset, 4, shuffle) for id in batch.ids]


def test_shuffle_depends_on_seed_and_epoch_alone(tiny_run):
    dataset = GraphDataset(tiny_run.graphs)
    first = order(dataset, seed=1, epoch=0)
    np.random.seed(5)
    torch.manual_seed(5)
    assert order(dataset, seed=1, epoch=0) == first
    assert sorted(first) == dataset.ids
    others = [order(dataset, seed=1, epoch=1), order(dataset, seed=2, epoch=0)]
    assert first not in others and others[0] != others[1]


def test_epoch_set_between_passes_takes_effect(tiny_run):
    dataset = GraphDataset(tiny_run.graphs)
    shuffle = EpochShuffle(len(dataset), seed=1)
    loader = batches(dataset, 4, shuffle)
    for epoch in (0, 1, 0):
        shuffle.epoch = epoch
        ids = [id for batch in loader for id in batch.ids]
        assert ids == order(dataset, seed=1, epoch=epoch)


def test_calibration_batch_is_a_fixed_sample(tiny_run):
    dataset = GraphDataset(tiny_run.graphs)
    sample = calibration_batch(dataset, seed=3, crystals=5)
    assert sample.ids == calibration_batch(dataset, seed=3, crystals=5).ids
    assert len(set(sample.ids)) == 5
    assert sample.ids != calibration_batch(dataset, seed=4, crystals=5).ids
    assert set(calibration_batch(dataset, seed=3).ids) == set(dataset.ids)  # fewer than 64


def test_target_statistics_are_those_of_the_given_ids_only(tiny_run):
    ids = read_split(tiny_run.split)["train"]
    labels = {one.id: [one.labels[name] for name in TARGETS] for one in tiny_run.valid}
    values = np.array([labels[id] for id in ids])
    mean_T, std_T = GraphDataset(tiny_run.graphs, ids).target_statistics()
    np.testing.assert_allclose(mean_T, values.sum(0) / 6, rtol=1e-14)
    np.testing.assert_allclose(std_T, np.sqrt(((values - mean_T) ** 2).sum(0) / 6), rtol=1e-12)


def cache_folders(graphs):
    return sorted((graphs.parent / "cache").iterdir())


def test_decoded_arrays_are_used_again_and_remade_for_other_graphs(graphs, tiny_run):
    GraphDataset(graphs)
    (cache,) = cache_folders(graphs)
    made = (cache / "r.npy").stat().st_mtime_ns
    GraphDataset(graphs)
    assert cache_folders(graphs) == [cache] and (cache / "r.npy").stat().st_mtime_ns == made
    write_graphs(tiny_run.crystals, graphs, GraphsConfig(cutoff_angstrom=4.0, crystals_per_shard=5))
    before, after = (GraphDataset(one).edge_counts().sum() for one in (tiny_run.graphs, graphs))
    assert after < before
    (other,) = cache_folders(graphs)  # the arrays of the graphs that are gone went with them
    assert other != cache


def test_damaged_shard_leaves_no_cache(graphs):
    (graphs / "shard-00001.parquet").write_bytes(b"PAR1")
    for _ in range(2):
        with pytest.raises(DamagedFile, match="shard-00001"):
            GraphDataset(graphs)
    assert cache_folders(graphs) == []


def open_when_told(graphs, barrier, queue):
    """In another process: wait for the other one, then decode."""
    barrier.wait(timeout=60)
    queue.put([batch.ids for batch in batches(GraphDataset(graphs), 5)])


def test_two_processes_decode_at_once_and_both_succeed(graphs, tiny_run):
    spawn = multiprocessing.get_context("spawn")
    barrier, queue = spawn.Barrier(2), spawn.Queue()
    processes = [
        spawn.Process(target=open_when_told, args=(graphs, barrier, queue)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    found = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert found[0] == found[1] == [batch.ids for batch in batches(GraphDataset(graphs), 5)]
    assert len(cache_folders(graphs)) == 1


def test_process_that_loses_the_race_uses_the_winners_arrays(graphs, monkeypatch):
    """The other process finishes while this one decodes."""
    from dglframer.graphs import dataset as module

    decode = module.decode

    def decode_late(folder, manifest, group, temporary):
        monkeypatch.setattr(module, "decode", decode)
        monkeypatch.setattr(module.os, "getpid", lambda: 1)
        module.open_cache(folder, manifest, group)
        monkeypatch.undo()
        decode(folder, manifest, group, temporary)

    monkeypatch.setattr(module, "decode", decode_late)
    assert len(GraphDataset(graphs)) == 12
    assert len(cache_folders(graphs)) == 1


@pytest.mark.parametrize("budget", [None, 1, 9, 14, 10_000])
@pytest.mark.parametrize("count", [1, 3, 100])
def test_portions_hold_every_crystal_once_and_keep_the_budget(count, budget):
    edges = np.array([5, 3, 9, 1, 1, 14, 2, 7])
    order = [3, 0, 5, 1, 7, 2, 6, 4]
    portions = list(BudgetedBatches(order, count, (edges, budget)))
    assert [index for portion in portions for index in portion] == order
    for portion in portions:
        assert len(portion) <= count
        assert budget is None or edges[portion].sum() <= budget or len(portion) == 1
    for one, following in pairwise(portions):  # none is closed without need
        full = len(one) == count
        assert full or (budget and edges[one].sum() + edges[following[0]] > budget)


def test_an_edge_budget_splits_batches(tiny_run):
    dataset = GraphDataset(tiny_run.graphs)
    budget = int(dataset.edge_counts().max())
    found = list(batches(dataset, 100, edge_budget=budget))
    assert len(found) > 1
    assert all(len(batch.src_E) <= budget for batch in found)
    assert [id for batch in found for id in batch.ids] == dataset.ids


def test_prefetching_changes_nothing(tiny_run):
    dataset = GraphDataset(tiny_run.graphs)
    ahead = list(prefetched(batches(dataset, 5), torch.device("cpu")))
    for one, other in zip(ahead, batches(dataset, 5), strict=True):
        assert one.ids == other.ids and torch.equal(one.r_E3, other.r_E3)


def test_an_error_while_making_a_batch_is_not_swallowed(tiny_run, monkeypatch):
    dataset = GraphDataset(tiny_run.graphs)
    monkeypatch.setattr(dataset, "collate", lambda rows: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(prefetched(batches(dataset, 5), torch.device("cpu")))
