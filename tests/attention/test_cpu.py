"""What is the CPU backend's own: threads, ranges of whole crystals, the threshold of weights."""

from itertools import pairwise

import pytest
import torch
from helpers import crystals
from helpers.attention import of_atoms

from dglframer.attention.cpu import attention as module
from dglframer.attention.cpu.attention import CpuAttention, crystal_ranges
from dglframer.attention.reference.attention import ReferenceAttention
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import Batch, batch_graphs
from dglframer.structures.periodic_graph import build_graph

SETTINGS = CrystalFramerConfig(heads=4, width=32)


@pytest.fixture(params=[torch.float64, torch.float32], ids=str)
def batch(request) -> Batch:
    three = (crystals.triclinic(), crystals.rocksalt(), crystals.lonely())
    return batch_graphs([build_graph(one, 6.0) for one in three], request.param)


def flattened(sums) -> torch.Tensor:
    return torch.cat([part.flatten(1) for part in sums], 1)


def test_bits_do_not_depend_on_threads(batch, monkeypatch):
    """Outputs and gradients; the ranges are whole crystals, and there is more than one."""
    attention = CpuAttention(batch, SETTINGS)
    results = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert (len(crystal_ranges(batch, threads)) > 1) == (threads > 1)
        inputs = of_atoms(batch, SETTINGS)
        output = flattened(attention(*inputs))
        results.append([output, *torch.autograd.grad(output.square().sum(), inputs)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_ranges_are_whole_crystals_with_all_atoms(batch):
    ends = batch.atoms_B.cumsum(0).tolist()
    for count in range(1, 8):
        ranges = crystal_ranges(batch, count)
        assert ranges[0][0] == 0 and ranges[-1][1] == ends[-1] and len(ranges) <= count
        assert all(last in ends for _, last in ranges)
        assert all(a[1] == b[0] for a, b in pairwise(ranges))


def test_what_is_passed_over_stays_below_the_threshold(monkeypatch):
    """A long cutoff: most edges weigh nothing; leaving them out changes the sums as stated."""
    long = batch_graphs([build_graph(crystals.triclinic(), 14.0)], torch.float64)
    inputs = of_atoms(long, SETTINGS)
    exact = flattened(ReferenceAttention(long, SETTINGS)(*inputs))
    errors = []
    for gap in (10.0, 18.5, 41.5):
        monkeypatch.setattr(module, "negligible_gap", lambda dtype, gap=gap: gap)
        sums = flattened(CpuAttention(long, SETTINGS)(*inputs))
        errors.append(abs(sums - exact).max().item())
    assert errors[0] > 1e-7 > errors[1] > 1e-12 > errors[2]
