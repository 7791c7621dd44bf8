"""What is the CPU backend's own: threads, ranges of whole crystals, the threshold of weights."""

import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import crystals
from helpers.attention import of_atoms
from helpers.paths import ROOT

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
    """[N, ...]: all sums of each atom."""
    _, *positions = sums
    parts = [sums.values_NHD, *(part.transpose(0, 1) for part in positions)]
    return torch.cat([part.flatten(1) for part in parts], 1)


def test_bits_do_not_depend_on_threads(batch, monkeypatch):
    """Outputs and gradients; the ranges are whole crystals, and there is more than one."""
    results = []
    monkeypatch.setattr(module, "EDGES_PER_THREAD", 1)
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        attention, inputs = CpuAttention(batch, SETTINGS), of_atoms(batch, SETTINGS)
        assert (len(attention.ranges) > 1) == (threads > 1)
        output = flattened(attention(*inputs))
        results.append([output, *torch.autograd.grad(output.square().sum(), inputs)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_few_edges_are_the_work_of_one_thread(batch, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for edges, expected in ((len(batch.src_E) + 1, 1), (len(batch.src_E), 2)):
        monkeypatch.setattr(module, "EDGES_PER_THREAD", edges)
        assert len(CpuAttention(batch, SETTINGS).ranges) == expected


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


def test_wrong_arrays_are_refused_before_a_loop_reads_them(batch):
    """The loops look at no shape: what is too short must not reach them."""
    attention = CpuAttention(batch, SETTINGS)
    q, k, v, decay = of_atoms(batch, SETTINGS)
    for wrong in (
        (q[:-1], k, v, decay),
        (q, k[:, :2], v, decay),
        (q, k, v[..., :4], decay),
        (q, k, v, decay[:-1]),
        (q, k, v.half(), decay),
    ):
        with pytest.raises(ValueError, match="not"):
            attention(*wrong)
    outside = Batch(**{**vars(batch), "src_E": batch.src_E + 100})
    with pytest.raises(ValueError, match="not in the batch"):
        CpuAttention(outside, SETTINGS)(q, k, v, decay)


def test_a_crystal_has_the_same_bits_in_every_batch(batch):
    """The triclinic crystal alone and before two others."""
    inputs = of_atoms(batch, SETTINGS)
    n = int(batch.atoms_B[0])
    alone = batch_graphs([build_graph(crystals.triclinic(), 6.0)], batch.r_E3.dtype)
    together = CpuAttention(batch, SETTINGS)(*inputs)
    by_itself = CpuAttention(alone, SETTINGS)(*(x[:n] for x in inputs))
    assert torch.equal(together.values_NHD[:n], by_itself.values_NHD)
    assert torch.equal(together.distances_HNK[:, :n], by_itself.distances_HNK)
    assert torch.equal(together.cosines_HNQ[:, :n], by_itself.cosines_HNQ)


def test_room_grows_for_many_tied_axes(batch):
    """A tie of every image with every other: thousands of axes for each atom."""
    settings = SETTINGS.model_copy(update={"frame_tie_width": 3.0})
    small = batch_graphs([build_graph(crystals.mirror_site(), 4.5)], torch.float64)
    inputs = of_atoms(small, settings)
    ours, exact = (kind(small, settings)(*inputs) for kind in (CpuAttention, ReferenceAttention))
    axes = CpuAttention(small, settings)
    assert abs(ours.values_NHD - exact.values_NHD).max() < 1e-12
    matrix = axes.cosine_matrix_KQ.T
    ours, exact = (one.cosines_HNQ.unflatten(2, (3, -1)) @ matrix for one in (ours, exact))
    assert abs(ours - exact).max() < 1e-11


LANES_SCRIPT = """
import sys
import numpy as np
import torch
sys.path.insert(0, sys.argv[1])
from helpers import crystals
from helpers.attention import of_atoms
from helpers.paths import ROOT
from dglframer.attention.cpu.attention import CpuAttention
from dglframer.attention.cpu.vectors import MODE
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import batch_graphs
from dglframer.structures.periodic_graph import build_graph
settings = CrystalFramerConfig(heads=3, width=24)
three = crystals.triclinic(), crystals.diamond(), crystals.line()
batch = batch_graphs([build_graph(one, 4.5) for one in three])
inputs = of_atoms(batch, settings)
attention = CpuAttention(batch, settings)
sums = attention(*inputs)
cosines = sums.cosines_HNQ.unflatten(2, (3, -1)) @ attention.cosine_matrix_KQ.T
loss = sums.values_NHD.square().sum() + sums.distances_HNK.square().sum() + cosines.square().sum()
found = [sums.values_NHD, sums.distances_HNK, cosines, *torch.autograd.grad(loss, inputs)]
print(MODE, file=sys.stderr)
np.savez(sys.argv[2], *(x.detach().numpy() for x in found))
"""


@pytest.mark.slow
def test_every_width_of_vectors_gives_the_same(tmp_path):
    """Each compiles anew: 16, 8 and 4 lanes, which LLVM can make of any processor's, and none."""
    results, modes = {}, set()
    for lanes in ("16", "8", "4", "0"):
        out = tmp_path / f"{lanes}.npz"
        words = [sys.executable, "-c", LANES_SCRIPT, str(ROOT / "tests"), str(out)]
        environment = {**os.environ, "DGLFRAMER_SIMD_LANES": lanes}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        modes.add(done.stderr.strip().splitlines()[-1])
        with np.load(out) as arrays:
            results[lanes] = [arrays[name] for name in arrays.files]
    assert len(modes) == 4
    for lanes, arrays in results.items():
        for one, other in zip(arrays, results["0"], strict=True):
            assert abs(one - other).max() <= 1e-5 * max(1, abs(other).max()), lanes
