"""On what to compute, and what makes two runs there give the same bits."""

import os

import torch

from dglframer.common.gpu_lease import take_gpu


def pick_device(name: str = "auto") -> torch.device:
    """The device to compute on; auto takes a CUDA device if torch can use one.

    Of several GPUs, one that no other job has (unless the name says which).
    """
    if name in ("auto", "cuda"):
        take_gpu()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def make_reproducible(threads: int, device: torch.device) -> None:
    """Fix what makes two runs on one machine differ: thread count and choice of kernels.

    To be called before anything is computed.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS is not repeatable
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
    # Whoever makes an empty tensor here fills it: a fill beforehand costs a tenth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False
    settle_mkl()


def settle_mkl() -> None:
    """Make MKL, by which torch computes on x86 CPUs, repeatable.

    Its matrix products do not depend on the number of threads then (so MKL says of Intel's CPUs with
    AVX2 or AVX-512); else it cuts them into parts that round differently. It takes this up once, at
    the first product. The code of a vector function is chosen when that is called first; if several
    threads are the first together, one of them may get code with half the digits (pytorch issue
    188792), so each is called once by one.
    """
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
    for dtype in (torch.float32, torch.float64):
        for function in (torch.sqrt, torch.exp, torch.log, torch.cos, torch.sin):
            function(torch.ones(1, dtype=dtype))
