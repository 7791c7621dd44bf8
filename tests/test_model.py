"""The model as a function of the crystal: what must not change it, and what must."""

import itertools

import numpy as np
import pytest
import torch

from dglframer.batch import batch_graphs
from dglframer.crystals import Crystal
from dglframer.encoder_config import ModelConfig
from dglframer.graphs import build_graph
from dglframer.model import CrystalFramer, initialise

CUTOFF = 7.0
# One table: how far two equivalent descriptions of a crystal may differ, outputs being about 0.3.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}


def triclinic() -> Crystal:
    lattice = np.array([[5.2, 0.3, -0.2], [-0.6, 5.7, 0.4], [0.5, -0.7, 6.1]])
    frac = [[0.05, 0.11, 0.07], [0.41, 0.22, 0.18], [0.63, 0.71, 0.35], [0.27, 0.58, 0.77]]
    return Crystal("triclinic", np.array([8, 22, 38, 16], np.int16), lattice, np.array(frac), {})


def rocksalt() -> Crystal:
    lattice = 2.82 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return Crystal(
        "NaCl", np.array([11, 17], np.int16), lattice, np.array([[0, 0, 0], [0.5] * 3]), {}
    )


def quartz() -> Crystal:
    """Right-handed alpha quartz, P3_1 21: chiral."""
    a, c = 4.914, 5.405
    lattice = np.array([[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, c]])
    u, (x, y, z) = 0.4697, (0.4135, 0.2669, 0.1191)
    silicon = [[u, 0, 1 / 3], [0, u, 2 / 3], [-u, -u, 0]]
    oxygen = [
        [x, y, z + 1 / 3],
        [-y, x - y, z + 2 / 3],
        [y - x, -x, z],
        [y, x, 2 / 3 - z],
        [x - y, -y, 1 / 3 - z],
        [-x, y - x, -z],
    ]
    numbers = np.array([14] * 3 + [8] * 6, np.int16)
    return Crystal("quartz", numbers, lattice, np.array(silicon + oxygen), {})


def mirror_site() -> Crystal:
    """Space group Pm: two images tie for the first axis, and a mirror, no rotation, relates them."""
    lattice = np.array([[6.1, 0, 0], [1.4, 6.6, 0], [0, 0, 7.3]])
    positions = np.array([[0, 0, 0], [1.1, 0.7, 1.5], [1.1, 0.7, -1.5], [2.7, 3.9, 0]])
    frac = positions @ np.linalg.inv(lattice)
    return Crystal("Pm", np.array([22, 8, 8, 38], np.int16), lattice, frac, {})


CRYSTALS = {crystal.id: crystal for crystal in (triclinic(), rocksalt(), quartz(), mirror_site())}


def trained_like(frame: str, dtype: torch.dtype, blocks: int = 2) -> CrystalFramer:
    """A calibrated network whose parameters are all away from zero."""
    network = initialise(CrystalFramer(ModelConfig(frame=frame, blocks=blocks)), 0).to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator).to(dtype)
    network.calibrate(batch_graphs([build_graph(triclinic(), CUTOFF)], dtype))
    return network.eval()


@pytest.fixture(scope="module", params=["max", "none"])
def networks(request):
    return {dtype: trained_like(request.param, dtype) for dtype in TOLERANCE}


def output(network: CrystalFramer, *crystals: Crystal) -> np.ndarray:
    dtype = next(network.parameters()).dtype
    with torch.no_grad():
        batch = batch_graphs([build_graph(crystal, CUTOFF) for crystal in crystals], dtype)
        return network(batch).numpy()[:, 0]


def rotated(crystal: Crystal, seed: int) -> Crystal:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q *= np.linalg.det(q)
    return changed(crystal, lattice=crystal.lattice_33 @ q.T)


def mirrored(crystal: Crystal) -> Crystal:
    return changed(crystal, lattice=crystal.lattice_33 * [1, 1, -1])


def supercell(crystal: Crystal, n: tuple[int, int, int]) -> Crystal:
    shifts = np.array(list(itertools.product(*map(range, n))))
    frac = ((crystal.frac_N3[None] + shifts[:, None]) / n).reshape(-1, 3)
    lattice = crystal.lattice_33 * np.array(n)[:, None]
    return changed(crystal, np.tile(crystal.numbers_N, len(shifts)), lattice, frac)


def unimodular(crystal: Crystal) -> Crystal:
    basis = np.array([[1, 1, 0], [0, 1, 2], [1, 1, 1]])
    assert round(np.linalg.det(basis)) == 1
    frac = crystal.frac_N3 @ np.linalg.inv(basis)
    return changed(crystal, lattice=basis @ crystal.lattice_33, frac=frac)


def changed(crystal, numbers=None, lattice=None, frac=None) -> Crystal:
    return Crystal(
        crystal.id,
        crystal.numbers_N if numbers is None else numbers,
        crystal.lattice_33 if lattice is None else lattice,
        crystal.frac_N3 if frac is None else frac,
        {},
    )


def permuted(crystal: Crystal, seed: int) -> Crystal:
    order = np.random.default_rng(seed).permutation(len(crystal.numbers_N))
    return changed(crystal, crystal.numbers_N[order], None, crystal.frac_N3[order])


EQUIVALENT = {
    "rotation": lambda c: rotated(c, 5),
    "another rotation": lambda c: rotated(c, 6),
    "translation": lambda c: changed(c, frac=c.frac_N3 + [0.31, -0.72, 5.45]),
    "order of atoms": lambda c: permuted(c, 7),
    "supercell": lambda c: supercell(c, (2, 1, 1)),
    "supercell, permuted, rotated": lambda c: rotated(permuted(supercell(c, (1, 2, 1)), 1), 9),
    "basis of the lattice": unimodular,
}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize("change", EQUIVALENT)
def test_equivalent_descriptions(networks, change, name, dtype):
    crystal = CRYSTALS[name]
    before, after = (
        output(networks[dtype], crystal),
        output(networks[dtype], EQUIVALENT[change](crystal)),
    )
    assert abs(after - before).max() < TOLERANCE[dtype]
    assert abs(before).max() > 0.01


@pytest.mark.parametrize("name", ["triclinic", "quartz"])
def test_mirror_image_of_a_chiral_crystal(networks, name):
    network = networks[torch.float64]
    difference = abs(output(network, mirrored(CRYSTALS[name])) - output(network, CRYSTALS[name]))[0]
    if network.model.frame == "none":
        assert difference < 1e-10
    else:
        assert difference > 1e-5


@pytest.mark.parametrize("name", ["NaCl", "Pm"])
def test_mirror_image_of_an_achiral_crystal(networks, name):
    """A mirror image that is the same crystal; the rule for ties must not tell the two apart."""
    network = networks[torch.float64]
    after = output(network, mirrored(CRYSTALS[name]))
    assert abs(after - output(network, CRYSTALS[name])).max() < 1e-10


def off_the_mirror(displacement: float) -> Crystal:
    """The mirror-site crystal, one of its two tied neighbours moved along the mirror's normal."""
    crystal = CRYSTALS["Pm"]
    frac = crystal.frac_N3.copy()
    frac[1] += np.array([0, 0, displacement]) @ np.linalg.inv(crystal.lattice_33)
    return changed(crystal, frac=frac)


@pytest.mark.parametrize("ties", ["average", "first"])
def test_outputs_are_continuous_as_a_tie_forms(ties):
    """Steps of the output shrink with the steps of the atom; of `first`, one does not."""
    network = trained_like("max", torch.float64)
    with_settings(network, frame_ties=ties)
    largest = []
    for steps in (40, 160):
        path = [off_the_mirror(d) for d in np.linspace(-0.004, 0.004, steps + 1)]
        outputs = output(network, *path)
        largest.append(abs(np.diff(outputs)).max())
    if ties == "average":
        assert largest[1] < 0.35 * largest[0]  # a quarter, for a smooth function
    else:
        assert largest[1] > 0.9 * largest[0] > 1e-4


def with_settings(network: CrystalFramer, **settings) -> None:
    """Change the settings of a network in place."""
    network.model = network.model.model_copy(update=settings)
    for block in network.blocks:
        block.attention.model = network.model


def test_ties_are_followed_in_training_too():
    """The gradient of an average over tied frames is that of the output, frames held constant."""
    network = trained_like("max", torch.float64)
    batch = batch_graphs([build_graph(CRYSTALS["Pm"], CUTOFF)], torch.float64)
    network(batch).sum().backward()
    weight = network.blocks[1].attention.angle_3HDK
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)).double()
    outputs = []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * 1e-4 * direction
            outputs.append(network(batch).item())
            weight -= sign * 1e-4 * direction
    numeric = (outputs[0] - outputs[1]) / 2e-4
    assert abs(numeric - (weight.grad * direction).sum()) < 1e-8
    assert abs(numeric) > 1e-3


def test_batch_mates_do_not_matter(networks):
    network, crystals = networks[torch.float64], list(CRYSTALS.values())
    together = output(network, *crystals)
    alone = np.concatenate([output(network, crystal) for crystal in crystals])
    assert abs(together - alone).max() < 1e-12


def test_same_input_same_bits(networks):
    network, crystals = networks[torch.float32], list(CRYSTALS.values())
    assert (output(network, *crystals) == output(network, *crystals)).all()


def test_one_atom_and_isolated_atom(networks):
    network = networks[torch.float64]
    copper = Crystal("Cu", np.array([29], np.int16), 3.6 * np.eye(3), np.zeros((1, 3)), {})
    assert np.isfinite(output(network, copper))
    alone = changed(copper, lattice=50.0 * np.eye(3))  # no neighbour within the cutoff
    farther = changed(copper, lattice=90.0 * np.eye(3))
    assert np.isfinite(output(network, alone))
    assert output(network, alone) == output(network, farther)


def test_chain_of_atoms_on_one_line(networks):
    """No second axis: finite, and the same in any orientation."""
    network = networks[torch.float64]
    lattice = np.diag([2.5, 40.0, 40.0])
    chain = Crystal(
        "chain", np.array([6, 7], np.int16), lattice, np.array([[0, 0, 0], [0.4, 0, 0]]), {}
    )
    outputs = [output(network, rotated(chain, seed))[0] for seed in range(4)]
    assert np.isfinite(outputs).all()
    assert np.ptp(outputs) < 1e-10


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 951_821),
        ({"frame": "none"}, 853_517),
        ({"angle_bins": 16}, 878_093),
        ({"blocks": 8}, 1_874_457),
    ],
    ids=str,
)
def test_parameter_counts_of_the_paper(settings, count):
    assert CrystalFramer(ModelConfig(**settings)).parameter_count() == count


def test_no_gradient_is_missing(networks):
    network = trained_like(networks[torch.float64].model.frame, torch.float64)
    network(batch_graphs([build_graph(triclinic(), CUTOFF)], torch.float64)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_gradients_against_finite_differences(networks):
    """In float64, for a few entries of every parameter; frames are constants, and stay the same."""
    network = trained_like(networks[torch.float64].model.frame, torch.float64)
    batch = batch_graphs([build_graph(triclinic(), CUTOFF)], torch.float64)
    network(batch).sum().backward()
    rng = np.random.default_rng(0)
    for name, parameter in network.named_parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        largest = int(gradient.abs().argmax())
        for index in {largest, int(rng.integers(len(flat)))}:
            with torch.no_grad():
                flat[index] += 1e-5
                above = network(batch).sum().item()
                flat[index] -= 2e-5
                below = network(batch).sum().item()
                flat[index] += 1e-5
            numeric = (above - below) / 2e-5
            assert abs(numeric - gradient[index].item()) < 1e-8, name


def test_calibration(networks):
    """t has mean 0 and standard deviation 1 over the sample, in every block."""
    network = initialise(CrystalFramer(ModelConfig(blocks=2)), 3).double()
    batch = batch_graphs(
        [build_graph(crystal, CUTOFF) for crystal in CRYSTALS.values()], torch.float64
    )
    network.calibrate(batch)
    x, geometry = network.start(batch)
    for block in network.blocks:
        attention = block.attention
        q = attention.query(x).unflatten(1, (8, -1))
        t = (attention.sigma_projection(q) + attention.sigma_shift) * attention.sigma_scale
        assert abs(t.mean()) < 1e-12 and abs(t.std() - 1) < 1e-12
        x = block(x, geometry)
