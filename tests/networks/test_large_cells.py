"""Cells of 500 and 2,000 atoms: the outputs of their primitive cell, in little memory."""

import multiprocessing
from pathlib import Path

import pytest
import torch
from helpers.crystals import rocksalt, triclinic
from helpers.descriptions import permuted, rotated, supercell

from dglframer.config.networks import CrystalFramerConfig, Se3TransformerConfig, symmetry_group
from dglframer.graphs.batch import batch_graphs
from dglframer.networks.build import build
from dglframer.structures.crystal import Crystal
from dglframer.structures.periodic_graph import build_graph

CUTOFF = 5.0
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}  # absolute, of outputs of order one
SMALL = {"blocks": 2, "width": 32, "heads": 4, "feedforward": 32}
SETTINGS = {
    "max": CrystalFramerConfig(symmetry="none", **SMALL),
    "max, equivalent atoms once": CrystalFramerConfig(**SMALL),
    "se3": Se3TransformerConfig(layers=1),
}
CELLS = {
    "500 without symmetry": (triclinic(), (5, 5, 5)),
    "2,000 without symmetry": (triclinic(), (5, 10, 10)),
    "2,000 of rocksalt": (rocksalt(), (10, 10, 10)),
}
# MiB for 54,000 edges; 51, 47 and 496 were measured.
MEMORY = {"max": 100, "max, equivalent atoms once": 100, "se3": 800}


def network_of(settings, dtype: torch.dtype):
    network = build(settings, 1).draw(0).to(dtype)
    network.calibrate(batch_of(triclinic(), settings, dtype))
    return network.eval()


def batch_of(one: Crystal, settings, dtype: torch.dtype):
    return batch_graphs([build_graph(one, CUTOFF)], dtype, symmetry_group(settings))


def large_cell(name: str) -> Crystal:
    """In another order and another direction, so that no sum is made like that of the primitive cell."""
    primitive, repeats = CELLS[name]
    return rotated(permuted(supercell(primitive, repeats), 1), 2)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("network", SETTINGS)
def test_a_large_cell_has_the_output_of_its_primitive_cell(network, cell, dtype):
    settings, large = SETTINGS[network], large_cell(cell)
    model = network_of(settings, dtype)
    with torch.no_grad():
        small, found = (
            model(batch_of(one, settings, dtype)).item() for one in (CELLS[cell][0], large)
        )
    assert abs(found - small) < TOLERANCE[dtype]
    assert abs(small) > 1e-3


def memory_of(network: str, pipe) -> None:
    """Send what the large cell takes beyond the memory before it (MiB), and its atoms and edges."""
    settings, large = SETTINGS[network], large_cell("2,000 of rocksalt")
    model = network_of(settings, torch.float64)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    batch = batch_of(large, settings, torch.float64)
    with torch.no_grad():
        model(batch)
    pipe.send((memory("VmHWM") - before, len(batch.numbers_N), len(batch.src_E)))


def memory(name: str) -> float:
    """A line of the process's own status, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


@pytest.mark.parametrize("network", SETTINGS)
def test_a_cell_of_2000_atoms_keeps_to_its_memory(network):
    """Measured in a process of its own; graph, batch and output of every atom, in float64."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=memory_of, args=(network, theirs))
    process.start()
    assert ours.poll(300)
    mib, atoms, edges = ours.recv()
    process.join(60)
    assert (atoms, edges) == (2000, 54_000)
    assert 0.2 * MEMORY[network] < mib < MEMORY[network]
