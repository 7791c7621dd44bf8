"""Periodic graphs as DGLGraphs, and back to structures."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from dglframer.common.elements import SYMBOLS
from dglframer.common.errors import UserError
from dglframer.evaluation.items import Wanted
from dglframer.graphs.batch import cell_or_zeros
from dglframer.interface.structures import as_list, items_of

if TYPE_CHECKING:
    import dgl
    import torch_geometric

    from dglframer.interface.structures import Structure

NODE_FIELDS = ("numbers", "frac_coords", "positions", "lattice")


def to_dgl(
    structure: "Structure", cutoff: float = 8.4, assume_periodic: bool = False
) -> "dgl.DGLGraph":
    """The DGLGraph of one structure: an edge for every image within ``cutoff`` (angstrom).

    An edge goes from the neighbour j in image n to the centre i, r = (f_j + n - f_i) L. Edges are sorted
    by centre, neighbour and image; the edge from each atom to itself, of length 0, is among them.

    ``ndata``: ``numbers`` int64 [N], atomic numbers; ``frac_coords`` float64 [N, 3], in [0, 1) (of a
    molecule Cartesian, angstrom); ``positions`` float64 [N, 3], Cartesian, angstrom; ``lattice`` float64
    [N, 3, 3], the rows of the lattice in angstrom, the same for each atom (DGL has no fields of graphs),
    zeros for a molecule. ``edata``: ``image`` int64 [E, 3], n; ``r`` float64 [E, 3], angstrom.

    Raises UserError if the structure cannot be used, or if a file has several.
    """
    from dglframer.common.dgl_import import dgl

    items = list(items_of(as_list(structure), Wanted(cutoff, assume_periodic), 0, 1))
    if len(items) != 1:
        raise UserError(f"to_dgl takes one structure, these are {len(items)}")
    item = items[0]
    if item.graph is None:
        raise UserError(f"{item.id}: {item.error}")
    one = item.graph
    n_atoms = len(one.numbers_N)
    graph = dgl.graph(
        (torch.from_numpy(one.edges.src_E).long(), torch.from_numpy(one.edges.dst_E).long()),
        num_nodes=n_atoms,
    )
    lattice_33 = cell_or_zeros(one.lattice_33)
    positions_N3 = one.coords_N3 if one.lattice_33 is None else one.coords_N3 @ lattice_33
    graph.ndata["numbers"] = torch.from_numpy(one.numbers_N.astype(np.int64))
    graph.ndata["frac_coords"] = torch.tensor(one.coords_N3)
    graph.ndata["positions"] = torch.tensor(positions_N3)
    graph.ndata["lattice"] = torch.tensor(lattice_33).repeat(n_atoms, 1, 1)
    graph.edata["image"] = torch.from_numpy(one.edges.image_E3.astype(np.int64))
    graph.edata["r"] = torch.tensor(one.vectors_E3)
    return graph


def to_pyg(
    structure: "Structure", cutoff: float = 8.4, assume_periodic: bool = False
) -> "torch_geometric.data.Data":
    """The graph of ``to_dgl`` as Data of PyTorch Geometric, with the same fields.

    ``edge_index`` int64 [2, E] has the neighbours j above the centres i. Raises UserError as ``to_dgl``
    does, and without the package torch_geometric.
    """
    try:
        from torch_geometric.data import Data
    except ImportError:
        raise UserError("to_pyg needs PyTorch Geometric: pip install torch_geometric") from None
    graph = to_dgl(structure, cutoff, assume_periodic)
    edge_index = torch.stack(graph.edges())
    return Data(edge_index=edge_index, num_nodes=graph.num_nodes(), **graph.ndata, **graph.edata)


def from_dgl(
    graph: "dgl.DGLGraph", library: Literal["pymatgen", "ase", "jarvis"] = "pymatgen"
) -> Any:
    """The structure of a graph with the fields of ``to_dgl``: a structure of pymatgen, ASE or jarvis-tools.

    A molecule becomes pymatgen's Molecule or Atoms of ASE without a cell. Raises UserError if a field is
    missing, for several graphs in one, and for a molecule of jarvis-tools, which has none.
    """
    missing = [name for name in NODE_FIELDS if name not in graph.ndata]
    if missing:
        raise UserError(f"from_dgl: the graph has no field {', '.join(missing)} of its nodes")
    if graph.batch_size != 1:
        raise UserError(f"from_dgl takes one graph, these are {graph.batch_size}: dgl.unbatch them")
    symbols = [SYMBOLS[z - 1] for z in graph.ndata["numbers"].tolist()]
    coords_N3 = graph.ndata["frac_coords"].cpu().numpy()
    lattice_33 = graph.ndata["lattice"][0].cpu().numpy()
    is_molecule = not lattice_33.any()
    if library == "ase":
        from ase import Atoms

        if is_molecule:
            return Atoms(symbols, positions=coords_N3)
        return Atoms(symbols, cell=lattice_33, scaled_positions=coords_N3, pbc=True)
    if library == "jarvis":
        from jarvis.core.atoms import Atoms as JarvisAtoms

        if is_molecule:
            raise UserError("from_dgl: Atoms of jarvis-tools need a cell, this is a molecule")
        return JarvisAtoms(lattice_33, coords_N3, symbols, cartesian=False)
    from pymatgen.core import Molecule, Structure

    if is_molecule:
        return Molecule(symbols, coords_N3)
    return Structure(lattice_33, symbols, coords_N3)
