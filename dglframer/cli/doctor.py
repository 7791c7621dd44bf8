"""dglframer doctor: versions, devices and folders, and advice on problems."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path

PACKAGES = (
    "dglframer torch dgl numpy scipy numba pyarrow pydantic safetensors pymatgen jarvis-tools "
    "spglib optuna matplotlib snakemake"
).split()


def examine() -> int:
    """Print the findings and the advice; returns 1 if a part is missing or broken."""
    problems: list[str] = []
    print(f"python        {platform.python_version()} ({sys.executable})")
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        problems.append("DGL has wheels for Python 3.11 and 3.12 only: make the environment anew")
    for name in PACKAGES:
        print(f"{name:<14}{version(name, problems)}")
    examine_torch(problems)
    examine_dgl(problems)
    examine_folders(problems)
    print(f"MP_API_KEY    {'set' if os.environ.get('MP_API_KEY') else 'not set'}")
    for problem in problems:
        print(f"problem: {problem}")
    print("nothing wrong" if not problems else f"{len(problems)} problem(s)")
    return 1 if problems else 0


def version(name: str, problems: list[str]) -> str:
    """The installed version, or the word missing and a problem."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        problems.append(f"{name} is not installed: make env, or pip install {name}")
        return "missing"


def examine_torch(problems: list[str]) -> None:
    """Print the devices that torch can use."""
    try:
        import torch
    except (ImportError, OSError) as error:
        problems.append(f"torch does not import ({error}): install it again")
        return
    print(f"threads       {torch.get_num_threads()} of {os.cpu_count()} cores")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            print(f"cuda:{index}        {torch.cuda.get_device_name(index)}")
    else:
        print("cuda          no device that torch can use")
        if shutil.which("nvidia-smi"):
            problems.append(
                f"there is an NVIDIA driver, but torch {torch.__version__} cannot use it: "
                "install a CUDA build of torch"
            )


def examine_dgl(problems: list[str]) -> None:
    """Check that DGL imports and computes; print whether it can use CUDA."""
    try:
        import torch

        from dglframer.common.dgl_import import dgl

        graph = dgl.graph((torch.tensor([0, 1]), torch.tensor([1, 0])))
        total = dgl.ops.copy_e_sum(graph, torch.ones(2, 1)).sum().item()
    except Exception as error:
        problems.append(
            f"DGL does not work here ({error}); with a current torch, dgl 1.1.3 works on Python 3.11 "
            "and dgl 2.1.0 on Python 3.12, both from PyPI"
        )
        return
    if total != 2:
        problems.append("DGL's message passing gives wrong sums here: install dgl again")
    try:
        graph.to("cuda:0")
        print("dgl cuda      yes")
    except Exception:  # DGLError, AssertionError or RuntimeError, by build and driver
        print("dgl cuda      no (not needed: on a GPU the model runs on plain torch tensors)")


def examine_folders(problems: list[str]) -> None:
    """Print the folders of caches, and the free disk space."""
    if importlib.util.find_spec("numba") is None:
        print("kernels       none (numba is missing: graphs cannot be built, CPU runs are slow)")
    else:
        package = Path(__file__).resolve().parents[1]  # a module's kernels are in its __pycache__
        folder = os.environ.get("NUMBA_CACHE_DIR") or package
        print(f"kernels       compiled once, kept below {folder}")
    print(f"graph cache   {Path('results/cache').resolve()} (decoded shards, safe to delete)")
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    print(f"disk          {free:.0f} GB free here")
    if free < 2:
        problems.append("less than 2 GB free on the working folder's disk")
