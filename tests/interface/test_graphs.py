"""DGLGraphs of structures, and back."""

import sys

import ase
import numpy as np
import pytest
import torch
from pymatgen.core import Molecule, Structure

import dglframer
from dglframer.common.dgl_import import dgl
from dglframer.common.errors import UserError
from dglframer.structures.crystal import Record, validate
from dglframer.structures.periodic_graph import build_graph

LATTICE = [[4.1, 0.3, -0.2], [-1.3, 5.2, 0.4], [0.9, 1.7, 6.3]]
FRAC = [[0.03, 0.11, 0.92], [0.31, 0.58, 0.57], [1.68, 0.77, 0.24]]
STRUCTURE = Structure(LATTICE, ["Li", "Si", "O"], FRAC)


def test_the_graph_is_that_of_the_pipeline():
    graph = dglframer.to_dgl(STRUCTURE, cutoff=5.0)
    expected = build_graph(validate(Record("x", ["Li", "Si", "O"], LATTICE, FRAC)), 5.0)
    src_E, dst_E = graph.edges()
    assert src_E.tolist() == expected.edges.src_E.tolist()
    assert dst_E.tolist() == expected.edges.dst_E.tolist()
    assert graph.edata["image"].tolist() == expected.edges.image_E3.tolist()
    np.testing.assert_array_equal(graph.edata["r"], expected.vectors_E3)
    assert graph.ndata["numbers"].tolist() == [3, 14, 8]


def test_the_fields_belong_together():
    """r = (f_j + n - f_i) L, and it is what positions and images give."""
    graph = dglframer.to_dgl(STRUCTURE, cutoff=5.0)
    (src_E, dst_E), nodes = graph.edges(), graph.ndata
    lattice_33 = nodes["lattice"][0]
    x_N3 = nodes["positions"]
    r_E3 = x_N3[src_E] + graph.edata["image"].double() @ lattice_33 - x_N3[dst_E]
    torch.testing.assert_close(graph.edata["r"], r_E3, rtol=0, atol=1e-12)
    length_E = graph.edata["r"].norm(dim=1)
    assert length_E.max() <= 5.0 and (length_E == 0).sum() == 3


def test_back_to_each_library():
    graph = dglframer.to_dgl(STRUCTURE)
    assert dglframer.from_dgl(graph).matches(STRUCTURE, primitive_cell=False)
    atoms = dglframer.from_dgl(graph, "ase")
    assert atoms.pbc.all() and atoms.get_chemical_formula() == "LiOSi"
    np.testing.assert_allclose(atoms.cell.array, LATTICE)
    jarvis = dglframer.from_dgl(graph, "jarvis")
    np.testing.assert_allclose(jarvis.frac_coords, graph.ndata["frac_coords"], atol=1e-12)
    again = dglframer.to_dgl(atoms)
    torch.testing.assert_close(again.edata["r"], graph.edata["r"], rtol=0, atol=1e-12)


def test_molecules_have_no_lattice():
    water = ase.Atoms("OH2", [[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])
    graph = dglframer.to_dgl(water)
    assert graph.num_edges() == 9 and not graph.ndata["lattice"].any()
    assert not dglframer.from_dgl(graph, "ase").pbc.any()
    assert isinstance(dglframer.from_dgl(graph), Molecule)
    with pytest.raises(UserError, match="need a cell"):
        dglframer.from_dgl(graph, "jarvis")


def test_what_is_not_one_graph_is_refused(tmp_path):
    graph = dglframer.to_dgl(STRUCTURE)
    with pytest.raises(UserError, match="these are 2: dgl"):
        dglframer.from_dgl(dgl.batch([graph, graph]))
    with pytest.raises(UserError, match="no field numbers, frac_coords, positions, lattice"):
        dglframer.from_dgl(dgl.graph(([0], [0])))
    with pytest.raises(UserError, match="takes one structure, these are 2"):
        dglframer.to_dgl([STRUCTURE, STRUCTURE])
    with pytest.raises(UserError, match="no such file"):
        dglframer.to_dgl(tmp_path / "absent.cif")


def test_pytorch_geometric_has_the_same_fields():
    pytest.importorskip("torch_geometric", reason="PyTorch Geometric is not installed")
    data, graph = dglframer.to_pyg(STRUCTURE, 5.0), dglframer.to_dgl(STRUCTURE, 5.0)
    assert data.validate() and data.num_nodes == 3
    src_E, dst_E = graph.edges()
    assert data.edge_index.tolist() == [src_E.tolist(), dst_E.tolist()]
    for name, values in (*graph.ndata.items(), *graph.edata.items()):
        assert torch.equal(data[name], values), name


def test_without_pytorch_geometric_the_message_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_geometric.data", None)
    with pytest.raises(UserError, match="pip install torch_geometric"):
        dglframer.to_pyg(STRUCTURE)
