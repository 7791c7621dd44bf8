"""A training: a fixed number of steps, its learning curve, the weights of the best validation."""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dglframer.common.errors import TrainingFailed
from dglframer.common.progress import tracked
from dglframer.experiments.recipes import RecipeOf

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 15.0

Validation = tuple[tuple[float, ...], dict[str, float]]  # what is minimised; values for the curve


@dataclass(frozen=True)
class Course:
    """The steps of a training on ``count`` examples, shuffled from ``seed``."""

    title: str  # in messages
    count: int
    batch: int
    steps: int
    validations: int  # maximum
    seed: int


@dataclass(frozen=True)
class Trained:
    """The network with the weights of the best validation, and the course of its training."""

    network: nn.Module
    best: dict[str, Any]  # the line of the curve with these weights
    curve: list[dict[str, Any]]
    seconds_per_step: float  # CPU time, or wall time with a GPU


def fit(
    network: nn.Module,
    course: Course,
    loss_of: Callable[[Tensor], Tensor],
    validate: Callable[[], Validation],
    recipe_of: RecipeOf,
) -> Trained:
    """Train to the last step; equal arguments give equal weights on one machine.

    ``loss_of``: the loss of a batch, given its rows. Raises TrainingFailed if a validation is not finite.
    """
    device, steps = next(network.parameters()).device, course.steps
    recipe = recipe_of(network, steps)
    every = -(-steps // course.validations)
    curve, watch = LearningCurve(course, network, validate), Stopwatch(device)
    losses: list[Tensor] = []
    watch.start()
    for step, rows in enumerate(tracked(batches(course), "steps", steps), 1):
        loss = loss_of(rows.to(device))
        network.zero_grad()
        loss.backward()
        recipe.step()
        losses.append(loss.detach())
        if step % every == 0 or step == steps:
            watch.stop()
            with recipe.result():
                curve.add(step, torch.stack(losses).mean().item(), watch.seconds)
            losses.clear()
            watch.start()
    network.load_state_dict(curve.weights)
    return Trained(network.eval(), curve.best, curve.lines, watch.seconds / steps)


def batches(course: Course) -> Iterator[Tensor]:
    """The rows of each batch: one shuffle after the other, without a short last batch."""
    generator = torch.Generator().manual_seed(course.seed)
    size = min(course.batch, course.count)
    done = 0
    while done < course.steps:
        order = torch.randperm(course.count, generator=generator)
        for first in range(0, course.count - size + 1, size):
            if done < course.steps:
                yield order[first : first + size]
            done += 1


class LearningCurve:
    """The validations of a training, and the weights of the best one."""

    def __init__(self, course: Course, network: nn.Module, validate: Callable[[], Validation]):
        self.course, self.network, self.validate = course, network, validate
        self.lines: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {}
        self.least: tuple[float, ...] = ()
        self.weights: dict[str, Tensor] = {}
        self.last_line = time.monotonic()

    def add(self, step: int, train_loss: float, seconds: float) -> None:
        """Validate after ``step`` steps, which took ``seconds``; keep the weights at a new minimum.

        Raises TrainingFailed if what is minimised is not finite.
        """
        minimised, values = self.validate()
        title, steps = self.course.title, self.course.steps
        if not all(map(math.isfinite, minimised)):
            raise TrainingFailed(f"{title}: the error is not finite after {step} steps")
        line = {"step": step, "train_loss": train_loss, **values}
        self.lines.append(line)
        if not self.best or minimised < self.least:
            self.best, self.least = line, minimised
            self.weights = copy.deepcopy(self.network.state_dict())
        if time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES or step == steps:
            self.last_line = time.monotonic()
            shown = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
            left = seconds / step * (steps - step)
            log.info("%s step %d/%d  %s  %.0f s left", title, step, steps, shown, left)


class Stopwatch:
    """Seconds of the steps, without validation: CPU time of the process, or wall time with a GPU."""

    def __init__(self, device: torch.device):
        self.gpu = device.type == "cuda"
        self.seconds = 0.0

    def now(self) -> float:
        if self.gpu:
            torch.cuda.synchronize()
        return time.perf_counter() if self.gpu else time.process_time()

    def start(self) -> None:
        self.started = self.now()

    def stop(self) -> None:
        self.seconds += self.now() - self.started
