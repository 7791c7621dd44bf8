"""The device of a computation, and the settings that make two runs there give the same bits."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dglframer.common.errors import UserError
from dglframer.common.gpu_lease import take_gpu


def pick_device(name: str = "auto") -> torch.device:
    """The device to compute on; auto takes a CUDA device if torch can use one.

    Unless the name gives a number, the GPU is one that no other job uses, if there is such a one.
    Raises UserError if there is no such device.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise UserError(f"--device {name}: no such device; there are auto, cpu, cuda, cuda:1, ...")
    if name in ("auto", "cuda"):
        take_gpu()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cpu":
        check_gpu(name)
    return torch.device(name)


def check_gpu(name: str) -> None:
    """Raise UserError unless torch can use the GPU."""
    if not torch.cuda.is_available():
        why = "finds none" if torch.version.cuda else "is a build for CPUs alone"
        raise UserError(f"--device {name}: no GPU can be used here, torch {why}; give cpu or auto")
    n_gpus = torch.cuda.device_count()
    number = int(name.partition(":")[2] or 0)
    if number >= n_gpus:
        raise UserError(f"--device {name}: there are {n_gpus} GPUs, their numbers begin with 0")


def make_reproducible(threads: int, device: torch.device) -> None:
    """Fix the number of threads and the choice of kernels, so that two runs give the same bits.

    Call it before any computation.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS is not repeatable
    torch.set_num_threads(threads)
    # Not use_deterministic_algorithms, which loads the compiler of torch for a flag there (1.5 s).
    torch.set_deterministic_debug_mode("error" if device.type == "cpu" else "warn")
    # Whoever makes an empty tensor here fills it: a fill beforehand costs a tenth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    settle_mkl()


@contextmanager
def reproducible(threads: int, device: torch.device) -> Iterator[None]:
    """Compute with the settings of ``make_reproducible``; those of the process come back afterwards."""
    flags = torch.utils.deterministic
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    fill = flags.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        make_reproducible(threads, device)
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])
        flags.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


def settle_mkl() -> None:
    """Make MKL repeatable, the library with which torch computes on x86 CPUs.

    By default MKL cuts a matrix product into parts by the number of threads, and the parts round
    differently. In this mode its products do not depend on the threads (MKL promises this for Intel
    CPUs with AVX2 or AVX-512). MKL reads the mode once, at the first product.

    MKL chooses the code of a vector function at the first call. If several threads make the first
    call together, one of them may get code with half the digits (pytorch issue 188792). One thread
    therefore calls each function once here.
    """
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
    for dtype in (torch.float32, torch.float64):
        for function in (torch.sqrt, torch.exp, torch.log, torch.cos, torch.sin):
            function(torch.ones(1, dtype=dtype))
