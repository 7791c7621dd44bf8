"""SE(3)-Transformer and TFN on crystals: what must not change a prediction, and what must."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.crystals import TINY_CUTOFF
from helpers.descriptions import CRYSTALS, EQUIVALENT, changed, mirrored

from dglframer.common.errors import DamagedFile
from dglframer.config import Config
from dglframer.config.networks import Se3TransformerConfig, TfnConfig
from dglframer.config.training import TrainingConfig
from dglframer.data.split import read_split
from dglframer.graphs.batch import batch_graphs
from dglframer.graphs.dataset import GraphDataset
from dglframer.networks.base import PropertyNetwork
from dglframer.networks.build import build
from dglframer.networks.model_directory import Target, TrainedModel, load_model, save_model
from dglframer.networks.se3_transformer.network import SE3Network
from dglframer.structures.crystal import Crystal, Record, validate
from dglframer.structures.periodic_graph import build_graph
from dglframer.training.run import train_model

TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}
SMALL = {"channels": 8, "layers": 2, "cutoff_angstrom": 4.5}
SETTINGS = {
    "se3_transformer": Se3TransformerConfig(degrees=3, heads=2, **SMALL),
    "attentive": Se3TransformerConfig(
        heads=2, self_interaction="attentive", relative_position="concatenate", **SMALL
    ),
    "tfn": TfnConfig(degrees=3, **SMALL),
}


@pytest.fixture(scope="module", params=SETTINGS)
def network(request) -> PropertyNetwork:
    return build(SETTINGS[request.param], 1).draw(0).double().eval()


def output(network: PropertyNetwork, *crystals: Crystal, cutoff: float = 6.0) -> np.ndarray:
    dtype = next(network.parameters()).dtype
    with torch.no_grad():
        batch = batch_graphs([build_graph(crystal, cutoff) for crystal in crystals], dtype)
        return network(batch).numpy()[:, 0]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize("change", EQUIVALENT)
def test_equivalent_descriptions(network, change, name, dtype):
    crystal = CRYSTALS[name]
    network = network.to(dtype)
    before, after = output(network, crystal), output(network, EQUIVALENT[change](crystal))
    network.double()
    assert abs(after - before).max() < TOLERANCE[dtype]


def test_atoms_without_neighbours(network):
    """Caesium in a large cell: no pair within the cutoff; alone, and beside a crystal that has some."""
    lonely = validate(Record("Cs", ["Cs"], 6 * np.eye(3), [[0, 0, 0]]))
    rocksalt = CRYSTALS["rocksalt"]
    alone, beside = output(network, lonely), output(network, rocksalt, lonely)
    assert np.isfinite(alone).all()
    np.testing.assert_allclose(beside, [*output(network, rocksalt), *alone], rtol=0, atol=1e-10)
    batch = batch_graphs([build_graph(lonely, 6.0)], torch.float64)
    network(batch).sum().backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)
    network.zero_grad()


def test_crystals_differ(network):
    values = output(network, *CRYSTALS.values())
    assert np.ptp(values) > 1e-3


def test_a_batch_gives_what_its_crystals_give_alone(network):
    together = output(network, *CRYSTALS.values())
    alone = np.concatenate([output(network, crystal) for crystal in CRYSTALS.values()])
    np.testing.assert_allclose(together, alone, atol=1e-12)


def test_edges_of_the_graph_beyond_the_cutoff_do_not_matter(network):
    quartz = CRYSTALS["quartz"]
    near, far = output(network, quartz, cutoff=4.5), output(network, quartz, cutoff=8.0)
    np.testing.assert_allclose(near, far, atol=1e-12)


def test_output_is_smooth_as_a_neighbour_leaves(network):
    """A sixteenth of the step, a sixteenth of the largest change, across the cutoff."""

    def pair(distance: float) -> Crystal:
        lattice = np.diag([9.5, 9.5, 9.5])  # no image is a neighbour
        frac = np.array([[0, 0, 0], [distance / 9.5, 0, 0], [0.1, 0.12, 0.1]])
        return Crystal("three", np.array([8, 22, 38], np.int16), lattice, frac, {})

    largest = []
    for steps in (8, 128):
        path = [pair(d) for d in np.linspace(4.48, 4.52, steps + 1)]
        largest.append(abs(np.diff(output(network, *path))).max())
    assert 0 < largest[1] < largest[0] / 8


def test_isolated_atom_and_single_atom_cell(network):
    alone = Crystal("alone", np.array([55], np.int16), 20 * np.eye(3), np.zeros((1, 3)), {})
    dense = Crystal("dense", np.array([55], np.int16), 3 * np.eye(3), np.zeros((1, 3)), {})
    values = output(network, alone, dense)
    assert np.isfinite(values).all() and values[0] != values[1]


def test_molecule(network):
    water = validate(
        Record("water", ["O", "H", "H"], None, [[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])
    )
    far = changed(water, frac=water.coords_N3 + [3.0, -7.0, 11.0])
    values = output(network, water, far)
    assert abs(values[0] - values[1]) < 1e-12 and np.isfinite(values).all()


# The outputs for quartz and its mirror image when models were first stored, weights of seed 0.
QUARTZ = {
    "se3_transformer": (-0.04074361177397169, -0.04581847395921791),
    "attentive": (0.23574965379946233, 0.236389392421529),
    "tfn": (-0.09068514393054325, -0.08618214539393396),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_stored_model_predicts_for_a_chiral_crystal_what_it_did(name, tmp_path):
    """With the edges turned round it would predict for the mirror image."""
    published = SETTINGS[name].model_copy(update={"element_properties": False})
    drawn = build(published, 1).draw(0).double()
    save_model(TrainedModel(drawn, 6.0, (Target("x", "eV", 0.0, 1.0),), {}), tmp_path)
    network = load_model(tmp_path).network
    quartz = CRYSTALS["quartz"]
    np.testing.assert_allclose(output(network, quartz, mirrored(quartz)), QUARTZ[name], atol=1e-9)


@pytest.mark.parametrize("parity", ["so3", "o3"])
def test_hands_of_quartz_differ_unless_parity_is_kept(parity):
    settings = Se3TransformerConfig(degrees=3, heads=2, parity=parity, **SMALL)
    network = build(settings, 1).draw(0).double().eval()
    left, right = CRYSTALS["quartz"], mirrored(CRYSTALS["quartz"])
    difference = abs(output(network, left) - output(network, right)).max()
    assert difference < 1e-12 if parity == "o3" else difference > 1e-6


def test_gradients_are_finite_along_the_axes_of_a_cubic_crystal():
    """Every edge of a simple cubic crystal up to sqrt 2 a is along an axis or a face diagonal."""
    network = build(SETTINGS["se3_transformer"], 1).draw(0).double()
    cubic = Crystal("Po", np.array([84], np.int16), 3.35 * np.eye(3), np.zeros((1, 3)), {})
    batch = batch_graphs([build_graph(cubic, 5.0)], torch.float64)
    batch.r_E3.requires_grad_()
    [gradient] = torch.autograd.grad(network(batch).sum(), batch.r_E3)
    assert gradient.isfinite().all() and gradient.abs().max() > 0


def test_gradients_by_edges_are_right_where_edges_are_equally_long(network):
    """Along a change of all edges but those from an atom to itself, which have few lengths before."""
    batch = batch_graphs([build_graph(CRYSTALS["rocksalt"], 4.5)], torch.float64)
    generator = torch.Generator().manual_seed(1)
    change_E3 = torch.randn(batch.r_E3.shape, generator=generator, dtype=torch.float64)
    change_E3[batch.r_E3.norm(dim=-1) == 0] = 0

    def moved(step: float) -> torch.Tensor:
        return network(replace(batch, r_E3=batch.r_E3 + step * change_E3)).sum()

    with torch.no_grad():
        expected = (moved(1e-6) - moved(-1e-6)) / 2e-6
    r_E3 = batch.r_E3.clone().requires_grad_()
    [gradient] = torch.autograd.grad(network(replace(batch, r_E3=r_E3)).sum(), r_E3)
    assert abs(expected) > 1e-4
    assert abs((gradient * change_E3).sum() - expected) < 1e-5 * abs(expected)


def config(encoder: str, **training) -> Config:
    given = {"epochs": 2, "averaged_epochs": 1, "batch_size": 4} | training
    return Config.model_validate(
        {
            "encoder": encoder,
            "graphs": {"cutoff_angstrom": TINY_CUTOFF},
            "se3_transformer": {"channels": 8, "layers": 1, "heads": 2},
            "tfn": {"channels": 8, "layers": 1},
            "training": TrainingConfig(**given).model_dump(),
        }
    )


@pytest.fixture
def sets(tiny_run):
    parts = read_split(tiny_run.split, allowed=("train", "val"))
    return [GraphDataset(tiny_run.graphs, parts[name]) for name in ("train", "val")]


@pytest.mark.parametrize("encoder", ["se3_transformer", "tfn"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_is_deterministic_and_its_model_directory_complete(
    encoder, precision, sets, tmp_path
):
    settings = config(encoder, precision=precision)
    first, second = (train_model(settings, *sets, 0, torch.device("cpu")) for _ in range(2))
    for name, value in first.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name
    save_model(first, tmp_path)
    read = load_model(tmp_path)
    assert isinstance(read.network, SE3Network)
    assert read.network.settings == settings.encoder_settings
    batch = sets[1].collate(sets[1].rows)
    assert torch.equal(read.network(batch), first.network(batch))
    assert json.loads((tmp_path / "model.json").read_text())["encoder"] == encoder


def test_it_can_learn_a_few_crystals_by_heart(sets):
    settings = config("se3_transformer", epochs=60, averaged_epochs=0, learning_rate=3e-3)
    losses = []
    train_model(settings, *sets, 0, torch.device("cpu"), each_epoch=losses.append)
    assert losses[-1]["train_loss"] < 0.25 * losses[0]["train_loss"]


def test_an_unknown_encoder_is_named(tmp_path):
    network = build(SETTINGS["tfn"], 1).draw(0)
    save_model(TrainedModel(network, 5.0, (Target("x", "eV", 0.0, 1.0),), {}), tmp_path)
    description = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**description, "encoder": "cgcnn"}))
    with pytest.raises(DamagedFile, match="cgcnn"):
        load_model(tmp_path)


def test_drawing_parameters_leaves_the_generator_of_torch_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    networks = [build(SETTINGS["tfn"], 1).draw(seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.rand(3), expected)
    first, again, other = (network.head.hidden.weight for network in networks)
    assert torch.equal(first, again) and not torch.equal(first, other)
