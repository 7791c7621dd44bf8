"""The model as a function of the crystal: what must not change it, and what must."""

import numpy as np
import pytest
import torch
from helpers.crystals import triclinic
from helpers.descriptions import CRYSTALS, EQUIVALENT, changed, mirrored, rotated

from dglframer.attention import attention_over
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import batch_graphs
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.structures.crystal import Crystal
from dglframer.structures.periodic_graph import build_graph

CUTOFF = 7.0
# One table: how far two equivalent descriptions of a crystal may differ, outputs being about 0.3.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}


def trained_like(frame: str, dtype: torch.dtype, blocks: int = 2) -> CrystalFramer:
    """A calibrated network whose parameters are all away from zero; without frames it knows properties."""
    settings = CrystalFramerConfig(frame=frame, blocks=blocks, element_properties=frame == "none")
    network = CrystalFramer(settings).draw(0).to(dtype)
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
    if network.settings.frame == "none":
        assert difference < 1e-10
    else:
        assert difference > 1e-5


@pytest.mark.parametrize("name", ["rocksalt", "mirror"])
def test_mirror_image_of_an_achiral_crystal(networks, name):
    """A mirror image that is the same crystal; the rule for ties must not tell the two apart."""
    network = networks[torch.float64]
    after = output(network, mirrored(CRYSTALS[name]))
    assert abs(after - output(network, CRYSTALS[name])).max() < 1e-10


def off_the_mirror(displacement: float) -> Crystal:
    """The mirror-site crystal, one of its two tied neighbours moved along the mirror's normal."""
    crystal = CRYSTALS["mirror"]
    frac = crystal.coords_N3.copy()
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
    network.settings = network.settings.model_copy(update=settings)
    for block in network.blocks:
        block.attention.settings = network.settings


def test_ties_are_followed_in_training_too():
    """The gradient of an average over tied frames is that of the output, frames held constant."""
    network = trained_like("max", torch.float64)
    batch = batch_graphs([build_graph(CRYSTALS["mirror"], CUTOFF)], torch.float64)
    network(batch).sum().backward()
    weight = network.blocks[1].attention.angle_3HDK
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)).double()
    outputs = []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * 1e-6 * direction
            outputs.append(network(batch).item())
            weight -= sign * 1e-6 * direction
    numeric = (outputs[0] - outputs[1]) / 2e-6
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
    published = CrystalFramerConfig(**settings, element_properties=False)
    assert CrystalFramer(published).parameter_count() == count


def test_no_gradient_is_missing(networks):
    network = trained_like(networks[torch.float64].settings.frame, torch.float64)
    network(batch_graphs([build_graph(triclinic(), CUTOFF)], torch.float64)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_gradients_against_finite_differences(networks):
    """In float64, for a few entries of every parameter; frames are constants, and stay the same."""
    network = trained_like(networks[torch.float64].settings.frame, torch.float64)
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
    network = CrystalFramer(CrystalFramerConfig(blocks=2)).draw(3).double()
    batch = batch_graphs(
        [build_graph(crystal, CUTOFF) for crystal in CRYSTALS.values()], torch.float64
    )
    network.calibrate(batch)
    x, attend = network.embedding(batch.numbers_N - 1), attention_over(batch, network.settings)
    for block in network.blocks:
        attention = block.attention
        q = attention.query(x).unflatten(1, (8, -1))
        t = (attention.sigma_projection(q) + attention.sigma_shift) * attention.sigma_scale
        assert abs(t.mean()) < 1e-12 and abs(t.std() - 1) < 1e-12
        x = block(x, attend)
