"""Rotations of simulated systems and of objects."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation


def random_rotations(count: int, seed: int | np.random.Generator) -> np.ndarray:
    """Uniform rotations, float64 [count, 3, 3]. (Rounded to float32 they would limit Δ_EQ to 4e-8.)"""
    quaternions = np.random.default_rng(seed).standard_normal((count, 4))
    return Rotation.from_quat(quaternions).as_matrix()


def turn(rotations_B33: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Vectors [B, ..., 3], each rotated by the rotation of its row."""
    return torch.einsum("bij,b...j->b...i", rotations_B33, vectors)
