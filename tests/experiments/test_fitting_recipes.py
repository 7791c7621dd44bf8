"""The recipes of the experiments: which weights move how, and which are validated."""

import torch
from torch import nn

from dglframer.experiments.nbody.models import build
from dglframer.experiments.recipes import Adam, MuonWithAverage, matrices_of
from dglframer.training.muon import Muon

STEPS = 40


def layer() -> nn.Module:
    """A matrix, a stack of two matrices [inputs, outputs], two vectors."""
    module = nn.Linear(3, 5)
    module.stack = nn.Parameter(torch.randn(2, 3, 4))
    module.row = nn.Parameter(torch.randn(2, 1, 4))
    return module


def with_gradients(network: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in network.parameters():
        parameter.grad = 0.01 * torch.randn(parameter.shape, generator=generator)


def test_adam_is_torchs_adam_on_a_cosine():
    network, same = layer(), layer()
    same.load_state_dict(network.state_dict())
    recipe, adam = Adam(network, STEPS), torch.optim.Adam(same.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, STEPS, eta_min=1e-4)
    for step in range(5):
        with_gradients(network, step)
        with_gradients(same, step)
        recipe.step()
        adam.step()
        schedule.step()
    with recipe.result():
        weights = network.state_dict()
        assert all(torch.equal(weights[name], of) for name, of in same.state_dict().items())


def test_muon_moves_every_matrix_of_a_stack_by_itself():
    network = layer()
    stack = network.stack.detach().clone()
    alone = [nn.Parameter(one.mT.clone()) for one in stack]
    recipe, muon = MuonWithAverage(network, STEPS), Muon(alone, lr=0.02, weight_decay=0.0)
    for step in range(4):
        with_gradients(network, step)
        for matrix, gradient in zip(alone, network.stack.grad, strict=True):
            matrix.grad = gradient.mT.clone()
        muon.param_groups[0]["lr"] = recipe.optimizers[1].param_groups[0]["lr"]
        recipe.step()
        muon.step()
    moved = torch.stack([one.detach().mT for one in alone])
    assert (moved - stack).abs().max() > 1e-3
    assert (network.stack.detach() - moved).abs().max() < 1e-6


def test_vectors_and_biases_are_left_to_adam():
    network = layer()
    assert [len(matrices_of(p)) for p in network.parameters()] == [1, 0, 2, 0]
    recipe = MuonWithAverage(network, STEPS)
    (group,) = recipe.optimizers[0].param_groups
    assert {id(p) for p in group["params"]} == {id(network.bias), id(network.row)}


def test_the_rates_rise_and_fall_to_a_hundredth():
    recipe, rates = MuonWithAverage(layer(), STEPS), []
    for step in range(STEPS):
        with_gradients(recipe.network, step)
        rates.append([one.param_groups[0]["lr"] for one in recipe.optimizers])
        recipe.step()
    adam, muon = map(list, zip(*rates, strict=True))
    assert adam[0] == muon[0] == 0.0
    assert max(adam) == adam[2] > 0.0099 and max(muon) == muon[2] > 0.0198
    assert adam[-1] < 0.0002 and muon[2:] == sorted(muon[2:], reverse=True)


def test_the_average_is_validated_and_the_training_goes_on_from_the_current_weights():
    network = layer()
    recipe, seen = MuonWithAverage(network, STEPS), []
    for step in range(6):
        with_gradients(network, step)
        recipe.step()
        seen.append(network.weight.detach().clone())
    average = seen[0]
    for n, one in enumerate(seen[1:], 1):
        decay = min(0.99, (n + 1) / (n + 10))
        average = decay * average + (1 - decay) * one
    with recipe.result():
        assert (network.weight - average).abs().max() < 1e-6
        assert (network.weight - seen[-1]).abs().max() > 1e-4
    assert torch.equal(network.weight, seen[-1])


def test_the_radial_nets_of_the_se3_transformer_are_muons():
    recipe = MuonWithAverage(build("se3_transformer", 2, 0), STEPS)
    named = dict(recipe.network.named_parameters())
    second = named["encoder.layers.1.kernels.radial.second_weight"]
    assert len(recipe.matrices[second]) == len(second) == 8
    assert all(
        name.endswith("bias") or 1 in p.shape[-2:]
        for name, p in named.items()
        if p.ndim > 1 and p not in recipe.matrices
    )
