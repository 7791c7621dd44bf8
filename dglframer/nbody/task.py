"""What is learnt: from one frame of a simulation, how far and by how much in velocity each particle moves.

Shapes: B simulations, 5 particles; the last two axes of a target are (Δx, Δv) and x, y, z.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from dglframer.nbody.simulation import Trajectories


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
        """Some of them, in the order of ``index``."""
        of = (self.positions, self.velocities, self.charges, self.targets)
        return Examples(*(values[index] for values in of))

    def rotated(self, rotations_B33: torch.Tensor) -> "Examples":
        """Each turned about the origin by its own rotation; targets turn along."""
        x, v, targets = (
            turn(rotations_B33, of) for of in (self.positions, self.velocities, self.targets)
        )
        return Examples(x, v, self.charges, targets)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Examples":
        """The same numbers elsewhere or in another precision."""
        of = (self.positions, self.velocities, self.charges, self.targets)
        return Examples(*(values.to(device, dtype) for values in of))


def examples(
    part: Trajectories,
    frames: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Examples:
    """Frame 0 and what has changed ``frames`` later."""
    x, v = part.positions, part.velocities
    changes = np.stack([x[:, frames] - x[:, 0], v[:, frames] - v[:, 0]], axis=2)
    arrays = (x[:, 0], v[:, 0], part.charges, changes)
    return Examples(*(torch.from_numpy(array.copy()).to(device, dtype) for array in arrays))


def squared_errors(output_B523: torch.Tensor, target_B523: torch.Tensor) -> torch.Tensor:
    """[B, 2]: of Δx and Δv, mean over particles and components."""
    return ((output_B523 - target_B523) ** 2).mean(dim=(1, 3))


def turn(rotations_B33: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Vectors [B, ..., 3], each turned by the rotation of its row."""
    return torch.einsum("bij,b...j->b...i", rotations_B33, vectors)


def random_rotations(count: int, seed: int) -> np.ndarray:
    """Uniform rotations, float64 [count, 3, 3]. (In float32 they would cap a float64 Δ_EQ at 4e-8.)"""
    quaternions = np.random.default_rng(seed).standard_normal((count, 4))
    return Rotation.from_quat(quaternions).as_matrix()
