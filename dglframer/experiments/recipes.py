"""The recipes of a training: how gradients move the weights, and which weights are validated and kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from dglframer.config.training import TrainingConfig
from dglframer.training.muon import Muon
from dglframer.training.schedule import averaged_exponentially, rate_factor


class Recipe(Protocol):
    """What a training asks of a recipe."""

    def step(self) -> None:
        """Move the weights along their gradients."""

    @contextmanager
    def result(self) -> Iterator[None]:
        """Within it the network has the weights that would be the result if the training ended now."""


RecipeOf = Callable[[nn.Module, int], Recipe]  # of a network and its number of steps


class Adam:
    """Adam, its rate falling from 1e-3 to 1e-4 on a cosine; the weights as they are."""

    def __init__(self, network: nn.Module, steps: int):
        self.adam = torch.optim.Adam(network.parameters(), lr=1e-3)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.adam, steps, eta_min=1e-4)

    def step(self) -> None:
        self.adam.step()
        self.schedule.step()

    @contextmanager
    def result(self) -> Iterator[None]:
        yield


class MuonWithAverage:
    """The crystals' recipe at larger rates: Muon for the matrices, Adam for the rest, averaged weights.

    The rates rise over the first steps and fall to a hundredth on a cosine; gradients are clipped; the
    average over about the last hundred steps is validated and kept.
    """

    MUON_RATE, ADAM_RATE = 0.02, 0.01
    SCHEDULE = TrainingConfig(schedule="cosine", warmup_fraction=0.03)
    LARGEST_GRADIENT = 1.0
    DECAY = 0.99

    def __init__(self, network: nn.Module, steps: int):
        self.network = network
        self.matrices = {p: found for p in network.parameters() if (found := matrices_of(p))}
        views = [view for found in self.matrices.values() for view in found]
        rest = [p for p in network.parameters() if p not in self.matrices]
        self.optimizers = [
            torch.optim.Adam(rest, lr=self.ADAM_RATE),
            Muon(views, lr=self.MUON_RATE, momentum=0.95, weight_decay=0.0),
        ]

        def factor(step: int) -> float:
            return rate_factor(step, step / steps, self.SCHEDULE)

        self.schedules = [torch.optim.lr_scheduler.LambdaLR(o, factor) for o in self.optimizers]
        self.averaged = averaged_exponentially(network, self.DECAY)

    def step(self) -> None:
        nn.utils.clip_grad_norm_(self.network.parameters(), self.LARGEST_GRADIENT)
        for parameter, views in self.matrices.items():
            if parameter.grad is not None:
                for view, gradient in zip(views, split(parameter.grad), strict=True):
                    view.grad = gradient
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            optimizer.step()
            schedule.step()
        self.averaged.update_parameters(self.network)

    @contextmanager
    def result(self) -> Iterator[None]:
        current = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.averaged.module.state_dict())
        yield
        self.network.load_state_dict(current)


def matrices_of(parameter: nn.Parameter) -> list[nn.Parameter]:
    """The matrices that Muon moves, [outputs, inputs], in the memory of the parameter; or none.

    Weights of linear layers and mixes of channels are one matrix, radial nets hold theirs in a stack
    [R, inputs, outputs]. A matrix of one row or column is a vector, and left to Adam.
    """
    if parameter.ndim < 2 or min(parameter.shape[-2:]) == 1:
        return []
    return [nn.Parameter(one) for one in split(parameter.detach())]


def split(weight: Tensor) -> tuple[Tensor, ...]:
    """The matrices [outputs, inputs] of a matrix or a stack of [inputs, outputs]; not copied."""
    return weight.mT.unbind(0) if weight.ndim == 3 else (weight,)
