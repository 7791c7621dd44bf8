"""The task: the class of an object from its points, as it stands or tilted."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn
from torch.nn import functional

from dglframer.experiments.rotations import turn
from dglframer.experiments.shapes.clouds import Clouds

BATCH = 50  # without gradients


@dataclass(frozen=True)
class Examples:
    """Points [B, P, 3] and the numbers of the classes [B]."""

    points: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def rotated(self, rotations_B33: np.ndarray) -> "Examples":
        """Each object rotated about its centre by its own rotation."""
        matrices = torch.from_numpy(rotations_B33).to(self.points)
        return Examples(turn(matrices, self.points), self.labels)


def examples(
    clouds: Clouds, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Examples:
    """The objects of a part as tensors."""
    points = torch.from_numpy(clouds.points).to(device, dtype)
    return Examples(points, torch.from_numpy(clouds.labels).to(device))


def tilts(count: int, max_degrees: float, seed: int) -> np.ndarray:
    """[count, 3, 3]: rotations about random horizontal axes, by angles from 0 to ``max_degrees``.

    This is the horizontal axis of the paper's Figure 4. With one seed a larger maximum turns each object
    further about the same axis.
    """
    rng = np.random.default_rng(seed)
    direction, share = rng.uniform(0, 2 * np.pi, count), rng.uniform(0, 1, count)
    axis = np.stack([np.cos(direction), np.sin(direction), np.zeros(count)], axis=1)
    angle = np.deg2rad(max_degrees) * share
    return Rotation.from_rotvec(angle[:, None] * axis).as_matrix()


def about_z(count: int, seed: int) -> np.ndarray:
    """[count, 3, 3]: uniform rotations about the vertical."""
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, count)
    return Rotation.from_rotvec(angles[:, None] * np.array([0.0, 0.0, 1.0])).as_matrix()


@torch.no_grad()
def logits(network: nn.Module, points_BP3: Tensor) -> Tensor:
    """[B, 15], computed in batches; the network is in training mode afterwards."""
    network.eval()
    result = torch.cat([network(part) for part in points_BP3.split(BATCH)])
    network.train()
    return result


def scores(network: nn.Module, of: Examples) -> tuple[float, float]:
    """Accuracy and mean cross-entropy."""
    found = logits(network, of.points).double()
    accuracy = (found.argmax(dim=1) == of.labels).double().mean()
    return accuracy.item(), functional.cross_entropy(found, of.labels).item()
