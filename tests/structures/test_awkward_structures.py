"""Real structures that break naive code: one atom, 624 atoms, angles of 5 and 170 degrees."""

import numpy as np
import pytest
import torch
from helpers.paths import SHARED, needs_shared

from dglframer.config.networks import CrystalFramerConfig
from dglframer.data.sources.structure_files import read_structure
from dglframer.graphs.batch import batch_graphs
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.structures.crystal import Crystal, validate
from dglframer.structures.periodic_graph import build_graph

pytestmark = needs_shared

FILES = SHARED / "data" / "structures"
CUTOFF = 6.0


def crystal(name: str) -> Crystal:
    return validate(read_structure(FILES / name))


@pytest.fixture(scope="module", params=["max", "none"])
def network(request) -> CrystalFramer:
    network = CrystalFramer(CrystalFramerConfig(frame=request.param, blocks=2)).draw(0).double()
    network.calibrate(
        batch_graphs([build_graph(crystal("Al2O3_mp-1143.cif"), CUTOFF)], torch.float64)
    )
    return network.eval()


def output(network: CrystalFramer, crystal: Crystal) -> float:
    with torch.no_grad():
        return network(batch_graphs([build_graph(crystal, CUTOFF)], torch.float64)).item()


@pytest.mark.parametrize(
    "name",
    [
        "Cs_one_atom_mp-1.cif",
        "JVASP-7577_Si.vasp",
        "JVASP-816_Al.vasp",
        "molecule_in_15A_box_H4C_dsgdb9nsd_000001.vasp",
        "elongated_c211A_mp-680196.cif",
        "large_624_atoms_mp-569514.cif",
    ],
)
def test_finite_and_reproducible(network, name):
    first, second = output(network, crystal(name)), output(network, crystal(name))
    assert np.isfinite(first) and first == second


@pytest.mark.parametrize(
    "name",
    [
        "skewed_alpha5deg_mp-675003.cif",
        "skewed_gamma4.7deg_mp-673643.cif",
        "skewed_170.8_170.8_13.0deg_mp-685151.cif",
    ],
)
def test_skewed_cells_equal_their_reduced_cells(network, name):
    from pymatgen.core import Structure

    reduced = Structure.from_file(FILES / name).get_reduced_structure("niggli")
    angles = np.array(reduced.lattice.angles)
    assert (abs(angles - 90) < 35).all()  # it really is another cell
    numbers = np.array(reduced.atomic_numbers, np.int16)
    same = Crystal("reduced", numbers, reduced.lattice.matrix, reduced.frac_coords, {})
    assert abs(output(network, crystal(name)) - output(network, same)) < 1e-9


def test_a_large_cell_equals_its_parts(network):
    """A 2 x 2 x 2 supercell of sodium chloride, 16 atoms, and one of 128 atoms."""
    small = crystal("NaCl_primitive_mp-22862.cif")
    for n in (2, 4):
        shifts = np.array(np.meshgrid(*[range(n)] * 3)).reshape(3, -1).T
        frac = ((small.coords_N3[None] + shifts[:, None]) / n).reshape(-1, 3)
        numbers = np.tile(small.numbers_N, n**3)
        large = Crystal("large", numbers, small.lattice_33 * n, frac, {})
        assert abs(output(network, large) - output(network, small)) < 1e-10
