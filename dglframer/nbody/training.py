"""A training: a fixed number of Adam steps, its learning curve, the weights of minimal validation error."""

import copy
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import nn

from dglframer.common.errors import DamagedFile, TrainingFailed
from dglframer.common.files import read_json, sha256, write_json, write_text
from dglframer.common.progress import tracked
from dglframer.common.version import __version__
from dglframer.nbody.models import build
from dglframer.nbody.task import Examples, squared_errors
from dglframer.networks.model_directory import save_weights

log = logging.getLogger(__name__)

BATCH = 128
RATE, LAST_RATE = 1e-3, 1e-4  # on a cosine
VALIDATIONS = 40  # maximum in a training
SECONDS_BETWEEN_LINES = 15.0
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Description:
    """Everything that the weights of a training depend on, except the data."""

    model: str
    frames: int
    seed: int
    steps: int
    degrees: int


@dataclass(frozen=True)
class Trained:
    """The network with the weights of minimal validation error, and the course of its training."""

    network: nn.Module
    best: dict[str, Any]  # the line of the curve with these weights
    curve: list[dict[str, Any]]
    seconds_per_step: float  # CPU time, or wall time with a GPU


def train(description: Description, train_set: Examples, val_set: Examples) -> Trained:
    """Train to the last step; equal arguments give equal weights on one machine.

    Raises TrainingFailed if the validation error is not finite.
    """
    device, steps = train_set.positions.device, description.steps
    network = build(description.model, description.degrees, description.seed).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=LAST_RATE)
    every = -(-steps // VALIDATIONS)
    curve, watch = LearningCurve(description, network, val_set), Stopwatch(device)
    losses: list[torch.Tensor] = []
    watch.start()
    drawn = tracked(batches(len(train_set), steps, description.seed), "steps", steps)
    for step, rows in enumerate(drawn, 1):
        batch = train_set.rows(rows.to(device))
        output = network(batch.positions, batch.velocities, batch.charges)
        loss = squared_errors(output, batch.targets).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
        if step % every == 0 or step == steps:
            watch.stop()
            curve.validate(step, torch.stack(losses).mean().item(), watch.seconds)
            losses.clear()
            watch.start()
    network.load_state_dict(curve.weights)
    return Trained(network.eval(), curve.best, curve.lines, watch.seconds / steps)


class LearningCurve:
    """The validations of a training, and the weights of minimal validation error."""

    def __init__(self, description: Description, network: nn.Module, val_set: Examples):
        self.description, self.network, self.val_set = description, network, val_set
        self.lines: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {}
        self.weights: dict[str, torch.Tensor] = {}
        self.last_line = time.monotonic()

    def validate(self, step: int, train_loss: float, seconds: float) -> None:
        """Validate after ``step`` steps, which took ``seconds``; keep the weights at a new minimum.

        Raises TrainingFailed if the error is not finite.
        """
        mse_x, mse_v = mean_errors(self.network, self.val_set)
        if not mse_x + mse_v < float("inf"):
            raise TrainingFailed(f"{self.description}: the error is not finite after {step} steps")
        line = {"step": step, "train_loss": train_loss, "val_mse_x": mse_x, "val_mse_v": mse_v}
        self.lines.append(line)
        if not self.best or mse_x + mse_v < self.best["val_mse_x"] + self.best["val_mse_v"]:
            self.best, self.weights = line, copy.deepcopy(self.network.state_dict())
        steps = self.description.steps
        if time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES or step == steps:
            self.last_line = time.monotonic()
            name = f"{self.description.model} seed {self.description.seed} step {step}/{steps}"
            left = seconds / step * (steps - step)
            log.info("%s  val x %.4f v %.4f  %.0f s left", name, mse_x, mse_v, left)


def batches(count: int, steps: int, seed: int) -> Iterator[torch.Tensor]:
    """The rows of ``steps`` batches: one shuffle after the other, without a short last batch."""
    generator = torch.Generator().manual_seed(seed)
    size = min(BATCH, count)
    done = 0
    while done < steps:
        order = torch.randperm(count, generator=generator)
        for first in range(0, count - size + 1, size):
            if done < steps:
                yield order[first : first + size]
            done += 1


@torch.no_grad()
def predictions(network: nn.Module, examples: Examples) -> torch.Tensor:
    """Predicted changes, [B, 5, 2, 3], computed in batches."""
    network.eval()
    parts = (examples.rows(slice(first, first + 256)) for first in range(0, len(examples), 256))
    result = [network(part.positions, part.velocities, part.charges) for part in parts]
    network.train()
    return torch.cat(result)


def mean_errors(network: nn.Module, examples: Examples) -> tuple[float, float]:
    """MSE of Δx and of Δv."""
    errors = squared_errors(predictions(network, examples), examples.targets)
    mse_x, mse_v = errors.double().mean(dim=0)
    return mse_x.item(), mse_v.item()


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


def save_trained(
    trained: Trained, description: Description, data_hash: str, threads: int, out: Path
) -> None:
    """Write the weights, curve.jsonl, timing.json, and last model.json with the hash of the weights."""
    weights_hash = save_weights(trained.network, out)
    write_text(out / "curve.jsonl", "".join(json.dumps(line) + "\n" for line in trained.curve))
    device = next(trained.network.parameters()).device
    clock = "GPU, wall" if device.type == "cuda" else f"CPU, {threads} thread(s)"
    write_json(out / "timing.json", {"seconds_per_step": trained.seconds_per_step, "clock": clock})
    values = {
        "format_version": FORMAT_VERSION,
        "written_by": f"dglframer {__version__}",
        **vars(description),
        "parameters": sum(one.numel() for one in trained.network.parameters()),
        "best": trained.best,
        "data_sha256": data_hash,
        "weights_sha256": weights_hash,
    }
    write_json(out / "model.json", values)


def load_trained(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network (CPU, float32) and the content of model.json; raises DamagedFile."""
    values = read_json(folder / "model.json")
    path = folder / "model.safetensors"
    try:
        if sha256(path) != values["weights_sha256"]:
            raise DamagedFile(f"{path}: not the weights of model.json beside it")
        network = build(values["model"], values["degrees"], values["seed"])
        network.load_state_dict(load_file(path))
    except (OSError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
        raise DamagedFile(f"{folder}: not a model of `dglframer nbody train` ({error})") from None
    return network.eval(), values
