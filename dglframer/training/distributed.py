"""Several processes that train one network together, started by torchrun.

Every process holds the whole state. Each computes the gradient of its part of a batch, the
gradients are summed in one message, and all processes take the same step; so their states stay equal.
(torch's DistributedDataParallel sends gradients in pieces during the backward pass. They are a few
megabytes here, so that gains little, and it cannot weight parts of unequal size or leave a process
without work.)
"""

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process (``rank``) among ``size``, and its device."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and the log."""
        return self.rank == 0

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sums over all processes, sent in one message; the tensors have one type."""
        if self.size == 1:
            return list(tensors)
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def sum_of(self, values: Any) -> np.ndarray:
        """The sum over all processes of an array (float64) of one shape."""
        [total] = self.sum([torch.as_tensor(np.asarray(values, np.float64)).to(self.device)])
        return total.cpu().numpy()

    def same_state(self, network: torch.nn.Module) -> None:
        """Give the network of every process the leader's parameters and buffers."""
        if self.size > 1:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, src=0)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; every process gets the same answer."""
        if self.size == 1:
            return flag
        return bool(self.sum([torch.tensor([float(flag)], device=self.device)])[0])

    def from_leader(self, value: T) -> T:
        """The leader's value, in every process."""
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values, src=0, device=self.device)
        return values[0]


@contextmanager
def processes_on(device: torch.device) -> Iterator[Processes]:
    """The processes that torchrun started, or this process alone.

    On GPUs they communicate by nccl, and each takes the GPU of its local rank; on CPUs by gloo.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Processes(device)
        return
    rank = int(os.environ["RANK"])
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    # torch loads its compiler at the first step; loaded later, it would keep hold of the group's threads.
    importlib.import_module("torch._dynamo")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(device, rank, size)
    finally:
        dist.destroy_process_group()


def parts_by_edges(indices: np.ndarray, edges_G: np.ndarray, count: int) -> list[np.ndarray]:
    """Divide the indices into ``count`` arrays with about equally many edges; some may be empty.

    Crystals are assigned in order of falling edge count, each to the part with the smallest sum so
    far. Each part keeps the order of ``indices``.
    """
    edges_B = edges_G[indices]
    owner_B = np.zeros(len(indices), np.int64)
    load = np.zeros(count, np.int64)
    for place in np.argsort(-edges_B, kind="stable"):
        owner_B[place] = load.argmin()
        load[owner_B[place]] += edges_B[place]
    return [indices[owner_B == part] for part in range(count)]
