"""The task: predict from a frame the changes of position and velocity of each particle, frames later.

Shapes: B simulations, 5 particles; the last two axes of a target are (Δx, Δv) and x, y, z.
"""

from dataclasses import dataclass

import numpy as np
import torch

from dglframer.experiments.nbody.simulation import Trajectories
from dglframer.experiments.rotations import turn


@dataclass(frozen=True)
class Examples:
    """Positions and velocities [B, 5, 3] of frame 0, charges [B, 5] and targets [B, 5, 2, 3]."""

    positions: torch.Tensor
    velocities: torch.Tensor
    charges: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.charges)

    def rows(self, index: torch.Tensor | slice) -> "Examples":
        """The examples of ``index``, in its order."""
        arrays = (self.positions, self.velocities, self.charges, self.targets)
        return Examples(*(values[index] for values in arrays))

    def rotated(self, rotations_B33: torch.Tensor) -> "Examples":
        """Each example, with its targets, rotated about the origin by its own rotation."""
        vectors = (self.positions, self.velocities, self.targets)
        x, v, targets = (turn(rotations_B33, one) for one in vectors)
        return Examples(x, v, self.charges, targets)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Examples":
        """The same numbers on a device, in a precision."""
        arrays = (self.positions, self.velocities, self.charges, self.targets)
        return Examples(*(values.to(device, dtype) for values in arrays))


def examples(
    part: Trajectories,
    frames: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Examples:
    """Frame 0 of each simulation, and the changes ``frames`` later as targets."""
    x, v = part.positions, part.velocities
    changes = np.stack([x[:, frames] - x[:, 0], v[:, frames] - v[:, 0]], axis=2)
    arrays = (x[:, 0], v[:, 0], part.charges, changes)
    return Examples(*(torch.from_numpy(array.copy()).to(device, dtype) for array in arrays))


def squared_errors(output_B523: torch.Tensor, target_B523: torch.Tensor) -> torch.Tensor:
    """[B, 2]: squared errors of Δx and Δv, averaged over particles and components."""
    return ((output_B523 - target_B523) ** 2).mean(dim=(1, 3))
