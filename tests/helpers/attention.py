"""Random inputs of the attention."""

import torch

from dglframer.common.elements import MAX_Z
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import Batch


def random(*shape: int, like: torch.Tensor, seed: int) -> torch.Tensor:
    """Normal numbers, the same in every type and on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(like)


def of_elements(batch: Batch, settings: CrystalFramerConfig) -> list[torch.Tensor]:
    """Queries, keys, values and decays of every element, which require gradients."""
    like = batch.r_E3
    shape = MAX_Z + 1, settings.heads, settings.width // settings.heads
    qkv = [random(*shape, like=like, seed=seed) for seed in range(3)]
    decay = 0.25 + 0.03 * random(*shape[:2], like=like, seed=3).abs()
    return [x.requires_grad_() for x in (*qkv, decay)]


def of_atoms(batch: Batch, settings: CrystalFramerConfig) -> list[torch.Tensor]:
    """Queries, keys, values and decays of every atom by itself, which require gradients."""
    like = batch.r_E3
    shape = len(batch.numbers_N), settings.heads, settings.width // settings.heads
    qkv = [random(*shape, like=like, seed=seed) for seed in range(3)]
    decay = 0.25 + 0.03 * random(*shape[:2], like=like, seed=3).abs()
    return [x.requires_grad_() for x in (*qkv, decay)]
