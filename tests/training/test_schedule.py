"""Rates, averages and Muon: their values, and that a training goes on from a snapshot to the same bits."""

import math

import numpy as np
import pytest
import torch

from dglframer.config import Config
from dglframer.config.networks import CrystalFramerConfig, Se3TransformerConfig
from dglframer.config.training import TrainingConfig
from dglframer.data.split import read_split
from dglframer.graphs.dataset import GraphDataset
from dglframer.networks.build import build
from dglframer.networks.inference import predict
from dglframer.training.distributed import Processes
from dglframer.training.muon import Muon, orthogonal
from dglframer.training.optimiser import clip_and_step, optimizers_for
from dglframer.training.prepare import prepare
from dglframer.training.schedule import averaged_exponentially, rate_factor
from dglframer.training.snapshot import restore, snapshot_of
from dglframer.training.trainer import Trainer

CPU = torch.device("cpu")
SMALL = CrystalFramerConfig(
    blocks=1, width=16, heads=2, feedforward=16, angle_bins=16, distance_bins=16
)
RECIPE = {
    "optimizer": "muon", "learning_rate": 1e-3, "schedule": "cosine", "average_decay": 0.9,
    "averaged_epochs": 0, "batch_size": 2,
}  # fmt: skip


@pytest.fixture
def sets(tiny_run):
    parts = read_split(tiny_run.split, allowed=("train", "val"))
    return [GraphDataset(tiny_run.graphs, parts[name]) for name in ("train", "val")]


def trainer(sets, **training) -> Trainer:
    config = Config(crystalframer=SMALL, training=TrainingConfig(**(RECIPE | training)))
    prepared = prepare(config, *sets, 0, CPU)
    return Trainer(prepared, config.training, Processes(CPU))


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        (0.0, 0.0),
        (0.05, 0.5 * (0.01 + 0.99 * 0.5 * (1 + math.cos(0.05 * math.pi)))),
        (0.5, 0.505),
        (1.0, 0.01),
    ],
)
def test_the_cosine_rises_then_falls_to_a_hundredth(done, expected):
    training = TrainingConfig(schedule="cosine", warmup_fraction=0.1)
    assert rate_factor(7, done, training) == pytest.approx(expected)


def test_without_a_warm_up_the_cosine_begins_at_the_top():
    assert rate_factor(0, 0.0, TrainingConfig(schedule="cosine", warmup_fraction=0)) == 1


def test_the_rates_of_a_run(sets):
    run = trainer(sets, epochs=2, warmup_fraction=0.25)
    seen = [run.epoch(epoch)["learning_rate"] for epoch in range(2)]
    # three steps an epoch, the rate at the middle of each; the last one of each epoch
    at = [2.5 / 6, 5.5 / 6]
    expected = [1e-3 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * t))) for t in at]
    assert seen == pytest.approx(expected)
    muon = run.optimizers[1].param_groups[0]
    assert muon["lr"] == pytest.approx(0.005 * expected[1] / 1e-3)


@pytest.mark.parametrize("settings", [CrystalFramerConfig(), Se3TransformerConfig()])
def test_muon_takes_the_weights_of_linear_layers_and_nothing_twice(settings):
    network = build(settings, 1).draw(0)
    adamw, muon = optimizers_for(network, TrainingConfig(optimizer="muon"))
    taken = [id(p) for group in muon.param_groups for p in group["params"]]
    rest = [id(p) for group in adamw.param_groups for p in group["params"]]
    assert sorted(taken + rest) == sorted(id(p) for p in network.parameters())
    names = {id(p): name for name, p in network.named_parameters()}
    assert all(names[p].endswith(".weight") and not names[p].startswith("head.") for p in taken)
    if isinstance(settings, CrystalFramerConfig):
        layers = ("attention.query", "attention.key", "attention.value", "attention.output")
        layers += ("expand", "contract")
        expected = {f"blocks.{k}.{layer}.weight" for k in range(4) for layer in layers}
        assert {names[p] for p in taken} == expected


def test_frozen_matrices_are_left_alone():
    network = build(SMALL, 1).draw(0)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith("blocks."))
    assert len(optimizers_for(network, TrainingConfig(optimizer="muon"))) == 1


def test_a_step_of_muon_is_orthogonal():
    network = build(SMALL, 1).draw(0)
    optimizers = optimizers_for(network, TrainingConfig(optimizer="muon", weight_decay=0.0))
    weight = network.blocks[0].attention.query.weight
    before = weight.detach().clone()
    torch.manual_seed(0)
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    assert clip_and_step(optimizers, 1.0, torch.tensor(1.0))
    sizes = torch.linalg.svdvals((before - weight.detach()) / 0.005)
    assert sizes.min() > 0.5 and sizes.max() < 1.3  # of the gradient they span a factor of 100


@pytest.mark.parametrize("shape", [(12, 12), (12, 40), (40, 12)])
def test_newton_and_schulz_give_the_polynomial_of_the_singular_values(shape):
    """Against the singular value decomposition in float64; one matrix has half the rank."""
    torch.manual_seed(0)
    matrices = torch.randn(3, *shape, dtype=torch.float64)
    matrices[2, :6] = matrices[2, 6:12].clone()
    coefficients = (3.4445, -4.7750, 2.0315)
    found = orthogonal(matrices, coefficients, 5)
    u, sizes, vh = torch.linalg.svd(matrices, full_matrices=False)
    sizes = sizes / sizes.norm(dim=1, keepdim=True)
    for _ in range(5):
        a, b, c = coefficients
        sizes = sizes * (a + b * sizes**2 + c * sizes**4)
    assert torch.allclose(found, u @ torch.diag_embed(sizes) @ vh, atol=1e-10)
    single = orthogonal(matrices.float(), coefficients, 5)
    assert torch.allclose(single.double(), found, atol=1e-4)


def test_steps_are_those_of_torch_up_to_its_bfloat16():
    torch.manual_seed(0)
    start = [torch.randn(16, 16), torch.randn(16, 16), torch.randn(48, 16), torch.randn(16, 48)]
    ours, theirs = ([torch.nn.Parameter(p.clone()) for p in start] for _ in range(2))
    settings = {"lr": 0.02, "momentum": 0.95, "weight_decay": 0.1}
    optimizers = (Muon(ours, **settings), torch.optim.Muon(theirs, **settings))
    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other, first in zip(ours, theirs, start, strict=True):
        assert (one - first).norm() > 0.1
        assert (one - other).norm() < 0.02 * (one - first).norm()
        momenta = (
            o.state[p]["momentum_buffer"] for o, p in zip(optimizers, (one, other), strict=True)
        )
        assert torch.allclose(*momenta)


def test_a_gradient_that_is_not_finite_moves_no_matrix():
    network = build(SMALL, 1).draw(0)
    optimizers = optimizers_for(network, TrainingConfig(optimizer="muon"))
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    network.head.output.bias.grad[0] = float("nan")
    assert not clip_and_step(optimizers, 1.0, torch.tensor(1.0))
    assert all(torch.equal(before[name], p) for name, p in network.named_parameters())
    assert not optimizers[1].state


def test_the_exponential_average():
    layer = torch.nn.Linear(1, 1, bias=False)
    averaged = averaged_exponentially(layer, 0.5)
    expected = None
    for n, value in enumerate([4.0, 8.0, -2.0, 1.0] + [3.0] * 20):
        with torch.no_grad():
            layer.weight.fill_(value)
        averaged.update_parameters(layer)
        decay = min(0.5, (n + 1) / (n + 10))
        expected = value if expected is None else decay * expected + (1 - decay) * value
        assert averaged.module.weight.item() == pytest.approx(expected)


def test_it_goes_on_from_a_snapshot_to_the_same_bits(sets):
    whole = trainer(sets, epochs=3)
    whole.epoch(0)
    kept = snapshot_of(whole)
    kept = type(kept)({k: v.clone() for k, v in kept.tensors.items()}, kept.values)
    last = [whole.epoch(epoch) for epoch in (1, 2)][-1]
    other = trainer(sets, epochs=3)
    restore(other, kept)
    assert [other.epoch(epoch) for epoch in (1, 2)][-1]["val_mae"] == last["val_mae"]
    ours, theirs = snapshot_of(whole).tensors, snapshot_of(other).tensors
    assert ours.keys() == theirs.keys()
    assert any(name.startswith("optimizer.momentum_buffer.blocks") for name in ours)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_it_can_learn_a_few_crystals_by_heart(sets):
    run = trainer(sets, epochs=120, batch_size=6, learning_rate=1e-2, muon_learning_rate=0.05)
    losses = [run.epoch(epoch)["train_loss"] for epoch in range(120)]
    targets = (sets[0].targets[sets[0].rows] - run.mean_T) / run.std_T
    assert losses[0] > 0.5
    assert np.abs(predict(run.result, sets[0], CPU) - targets).mean() < 0.05


def test_the_mean_over_last_epochs_takes_the_place_of_the_exponential_average(sets):
    run = trainer(sets, epochs=2, averaged_epochs=1)
    assert run.averaged is None
    run.epoch(0)
    assert run.result is run.network
    run.epoch(1)
    assert run.averaged is not None and int(run.averaged.n_averaged) == 3  # steps of the epoch
