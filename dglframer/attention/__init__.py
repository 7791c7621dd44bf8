"""CrystalFramer's one costly operation: attention over every image of every atom.

``attention_over`` chooses the fastest backend of ``BACKENDS`` that serves. A backend has the files
``attention`` (the class), ``weights``, ``bases`` and, where it finds frames by itself, ``frames``.
Sections (§) are those of docs/models/crystalframer.md.
"""

import importlib.util

import torch

from dglframer.attention.contract import Attention
from dglframer.attention.reference.attention import ReferenceAttention
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import Batch

# Fastest first. Compilers that are not installed, or have no device, are not loaded.
BACKENDS: tuple[type[Attention], ...] = (ReferenceAttention,)
if importlib.util.find_spec("numba"):
    from dglframer.attention.cpu.attention import CpuAttention

    BACKENDS = (CpuAttention, *BACKENDS)
if importlib.util.find_spec("triton") and torch.cuda.is_available():
    from dglframer.attention.gpu.attention import GpuAttention

    BACKENDS = (GpuAttention, *BACKENDS)


def attention_over(batch: Batch, settings: CrystalFramerConfig) -> Attention:
    """The attention of a batch, by the fastest backend that serves."""
    chosen = next(backend for backend in BACKENDS if backend.serves(batch, settings))
    return chosen(batch, settings)
