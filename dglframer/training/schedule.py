"""How the learning rates and the averaged weights move in the course of a training."""

import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dglframer.config.training import TrainingConfig

Tensors = tuple[Tensor, ...] | list[Tensor]

LAST_RATE = 0.01  # of the first, at the end of the cosine


def rate_factor(step: int, done: float, training: TrainingConfig) -> float:
    """The factor of every rate at a step, ``done`` being the share of the training before it.

    ``inverse_sqrt``: sqrt(T / (T + step)) (docs/models/crystalframer.md §8). ``cosine``: a linear rise
    over the first ``warmup_fraction``, times half a period of the cosine down to LAST_RATE.
    """
    if training.schedule == "inverse_sqrt":
        return math.sqrt(training.decay_steps / (training.decay_steps + step))
    rise = min(1.0, done / training.warmup_fraction) if training.warmup_fraction else 1.0
    return rise * (LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * done)))


def averaged_over_steps(network: nn.Module) -> AveragedModel:
    """The mean of the weights after every step from now on."""
    return AveragedModel(network)


def averaged_exponentially(network: nn.Module, decay: float) -> AveragedModel:
    """The exponential average of the weights after every step.

    The decay rises from 1 / 10 to ``decay`` as (n + 1) / (n + 10) after n steps, so that the first
    weights are soon forgotten.
    """

    def update(averaged: Tensors, current: Tensors, count: Tensor | int) -> None:
        n = int(count)
        now = min(decay, (n + 1) / (n + 10))
        torch._foreach_lerp_(averaged, current, 1 - now)

    return AveragedModel(network, multi_avg_fn=update)
