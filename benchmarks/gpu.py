"""The Triton kernels on a GPU: do they agree with the reference path, and how fast are they?

    python benchmarks/gpu.py

compares sums and gradients (float32) on 64 crystals, times training steps and predictions of the
default model on batches of 256, 64 and 1 crystals and each kernel by itself, with CUDA events
(medians), prints tables and writes benchmarks/results/gpu.json. The crystals are those of speed.py:
the embedded data set drawn to JARVIS' sizes. Neither DGL nor any file is needed. A path is ``triton``,
``torch`` (the reference path on the same GPU), ``tf32`` (the Triton path with torch's own matrix
products in TF32) or ``none`` (Triton kernels of a model without frames). Results are kept in float32
throughout; how far TF32 products, or queries, keys and values in bfloat16, would move them is
printed beside the tolerance of the tests.

Not measured here: CUDA graphs. Batches differ in atoms and edges, so that a graph would have to be
captured for padded batches; compare the milliseconds of a step with the sum of its kernels first.
"""

import argparse
import importlib.util
import json
import platform
import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from speed_cases import jarvis_like
from torch import Tensor

import dglframer.attention as attention_door
from dglframer.attention import attention_over
from dglframer.attention.reference.attention import ReferenceAttention
from dglframer.common.elements import MAX_Z
from dglframer.config.networks import CrystalFramerConfig
from dglframer.config.training import TrainingConfig
from dglframer.graphs.batch import Batch, batch_graphs
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.training.optimiser import l1_loss, optimizers_for

RESULTS_FILE = Path(__file__).parent / "results" / "gpu.json"
JARVIS_CRYSTALS = 44_578
SIZES = (256, 64, 1)
KERNELS = ("attend", "centre_gradients", "source_gradients")  # of one block of one training step


def main() -> None:
    parser = argparse.ArgumentParser(description="Check and time the Triton kernels on a GPU.")
    parser.add_argument("--rounds", type=int, default=30, help="timed repetitions of each case")
    parser.add_argument("--output", type=Path, default=RESULTS_FILE)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit(
            f"benchmarks/gpu.py needs a CUDA device, and torch {torch.__version__} finds none."
        )
    if not importlib.util.find_spec("triton"):
        sys.exit("benchmarks/gpu.py needs triton, which CUDA builds of torch bring along.")
    sample = jarvis_like(max(SIZES), 0)
    sample.build()
    batches = {size: batch_graphs(sample.graphs[:size]).to("cuda") for size in SIZES}
    results: dict[str, Any] = {
        "machine": machine(),
        "sample": sample.describe(),
        "agreement": [agreement(batches[64], frame) for frame in ("max", "none")],
        "rounding": rounding(batches[64]),
        "steps": steps(batches, arguments.rounds),
        "kernels_ms": {
            size: kernel_times(batch, batches[64], arguments.rounds)
            for size, batch in batches.items()
        },
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    print(rendered(results))
    print(f"\nwritten: {arguments.output}")
    if not all(row["agrees"] for row in results["agreement"]):
        sys.exit("The Triton kernels do not agree with the reference path.")


def machine() -> dict[str, str]:
    import triton

    device = torch.cuda.get_device_properties(0)
    return {
        "device": f"{device.name}, {device.multi_processor_count} multiprocessors",
        "software": f"torch {torch.__version__}, triton {triton.__version__}, "
        f"Python {platform.python_version()}",
    }


def agreement(batch: Batch, frame: str) -> dict[str, Any]:
    """Largest differences between the two paths for random features of elements, float32.

    Of axes that see the same the kernels take one, so that gradients are compared where they must
    agree: summed over atoms of an element. An atom with two images at the very edge of a tie may
    differ by more than rounding; such atoms are counted, and left out of the gradients' loss.
    """
    from dglframer.attention.gpu.attention import GpuAttention

    settings = CrystalFramerConfig(frame=frame)
    generator = torch.Generator("cuda").manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device="cuda")

    n_atoms = len(batch.numbers_N)
    qkv = [random(MAX_Z + 1, settings.heads, settings.width // settings.heads) for _ in range(3)]
    inputs = [*qkv, 0.25 + 0.03 * random(MAX_Z + 1, settings.heads).abs()]
    for tensor in inputs:
        tensor.requires_grad_()
    features = [tensor[batch.numbers_N] for tensor in inputs]
    backends = GpuAttention, ReferenceAttention
    sums = [backend(batch, settings)(*features) for backend in backends]
    flat = [torch.cat([part.flatten(1) for part in parts], 1) for parts in sums]
    error_N = (flat[0] - flat[1]).detach().abs().amax(1)
    differs_N = error_N > 1e-5
    weights = random(*flat[0].shape) * ~differs_N.unsqueeze(1)
    grads = [torch.autograd.grad((one * weights).sum(), inputs, retain_graph=True) for one in flat]
    relative = [
        float((ours - exact).abs().max() / exact.abs().max())
        for ours, exact in zip(*grads, strict=True)
    ]
    return {
        "frame": frame,
        "atoms": n_atoms,
        "atoms_that_differ": int(differs_N.sum()),
        "output_error_of_the_others": float(error_N[~differs_N].max()),
        "relative_gradient_errors": dict(zip(("q", "k", "v", "decay"), relative, strict=True)),
        "agrees": int(differs_N.sum()) <= n_atoms // 200 and max(relative) <= 1e-4,
    }


@torch.no_grad()
def rounding(batch: Batch) -> dict[str, float]:
    """Largest errors, relative to the largest value, where less than float32 could be used."""
    network = CrystalFramer(CrystalFramerConfig()).draw(0).to(batch.r_E3.device)
    network.calibrate(batch)
    exact = network(batch)
    torch.set_float32_matmul_precision("high")
    tf32 = network(batch)
    torch.set_float32_matmul_precision("highest")

    x_NW, attend = network.embedding(batch.numbers_N - 1), attention_over(batch, network.settings)
    attention = network.blocks[0].attention
    q, k, v = (
        layer(x_NW).unflatten(1, (network.settings.heads, -1))
        for layer in (attention.query, attention.key, attention.value)
    )
    rounded = [x.bfloat16().float() for x in (q, k, v)]
    sums = [attend(*one, attention.decay(q)) for one in ((q, k, v), rounded)]
    errors = [
        (ours - other).abs().max() / other.abs().max() for other, ours in zip(*sums, strict=True)
    ]
    return {
        "predictions, matrix products in TF32": float((tf32 - exact).abs().max() / exact.std()),
        "sums of a block, q, k, v in bfloat16": float(max(errors)),
    }


def steps(batches: dict[int, Batch], rounds: int) -> list[dict[str, Any]]:
    """Milliseconds of a training step and of a prediction on each batch, by each path."""
    rows = []
    for path in ("triton", "tf32", "torch", "none"):
        network = CrystalFramer(
            CrystalFramerConfig(frame="none" if path == "none" else "max")
        ).draw(0)
        network.cuda()
        without = (ReferenceAttention,) if path == "torch" else attention_door.BACKENDS
        with patch.object(attention_door, "BACKENDS", without):
            network.calibrate(batches[64])
            for size, batch in batches.items():
                torch.set_float32_matmul_precision("high" if path == "tf32" else "highest")
                row = measure(network, batch, rounds)
                torch.set_float32_matmul_precision("highest")
                rows.append({"path": path, "crystals": size, **row})
    return rows


def measure(network: CrystalFramer, batch: Batch, rounds: int) -> dict[str, float]:
    """Medians for one network and one batch that is on the GPU already, and the peak memory."""
    # Weights that a step leaves as they are: every round measures the same model.
    optimizer = optimizers_for(network, TrainingConfig(optimizer="adamw", learning_rate=1e-12))[0]
    target_BT = torch.linspace(-1, 1, len(batch.atoms_B), device="cuda").unsqueeze(1)

    def train() -> None:
        loss = l1_loss(network(batch), target_BT)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    @torch.no_grad()
    def infer() -> None:
        network(batch)

    torch.cuda.reset_peak_memory_stats()
    milliseconds = {"train_ms": median_ms(train, rounds), "infer_ms": median_ms(infer, rounds)}
    return {**milliseconds, "peak_mib": torch.cuda.max_memory_allocated() / 2**20}


def median_ms(work: Callable[[], None], rounds: int) -> float:
    """Median time between two events around ``work``: the host's share counts where it is slower."""
    for _ in range(5):
        work()
    times = []
    for _ in range(rounds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


class Recorder:
    """Stands in for a kernel and records events around each of its launches."""

    def __init__(self, kernel: Any, events: list):
        self.kernel, self.events = kernel, events

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*args: Any, **options: Any) -> None:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            self.kernel[grid](*args, **options)
            end.record()
            self.events.append((begin, end))

        return launch


def kernel_times(batch: Batch, calibration: Batch, rounds: int) -> dict[str, float]:
    """Milliseconds of each kernel of one block in one training step: medians over blocks and rounds.

    On small batches this is the time of launching: the GPU waits for the host.
    """
    from dglframer.attention.gpu import weights as triton_kernels

    network = CrystalFramer(CrystalFramerConfig()).draw(0).cuda()
    network.calibrate(calibration)
    events: dict[str, list] = {name: [] for name in KERNELS}
    with ExitStack() as stack:
        for _ in range(3):  # compile and warm up
            network(batch).sum().backward()
        for name in KERNELS:
            recorder = Recorder(getattr(triton_kernels, name), events[name])
            stack.enter_context(patch.object(triton_kernels, name, recorder))
        for _ in range(rounds):
            network(batch).sum().backward()
    torch.cuda.synchronize()
    return {
        name: statistics.median(begin.elapsed_time(end) for begin, end in pairs)
        for name, pairs in events.items()
    }


def rendered(results: dict[str, Any]) -> str:
    """The results as Markdown tables."""
    sample = results["sample"]
    lines = [
        f"{results['machine']['device']}; {results['machine']['software']}",
        f"{sample['atoms_mean']:.1f} atoms and {sample['edges_mean']:.0f} edges a crystal on average",
        "",
        "| frame | atoms | that differ | others' outputs | gradients q, k, v, decay |",
        "|---|---|---|---|---|",
    ]
    for row in results["agreement"]:
        gradients = ", ".join(f"{x:.0e}" for x in row["relative_gradient_errors"].values())
        lines.append(
            f"| {row['frame']} | {row['atoms']} | {row['atoms_that_differ']} "
            f"| {row['output_error_of_the_others']:.0e} | {gradients} |"
        )
    lines += ["", "| with less than float32 | relative error (tests: 1e-5) |", "|---|---|"]
    lines += [f"| {what} | {error:.0e} |" for what, error in results["rounding"].items()]
    lines += [
        "",
        "| path | crystals | train ms | crystals/s | infer ms | crystals/s | peak MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results["steps"]:
        rates = [row["crystals"] / row[key] * 1000 for key in ("train_ms", "infer_ms")]
        lines.append(
            f"| {row['path']} | {row['crystals']} | {row['train_ms']:.2f} | {rates[0]:.0f} "
            f"| {row['infer_ms']:.2f} | {rates[1]:.0f} | {row['peak_mib']:.0f} |"
        )
    lines += ["", f"| kernel ms | {' | '.join(KERNELS)} |", "|---" * (len(KERNELS) + 1) + "|"]
    for size, times in results["kernels_ms"].items():
        lines.append(
            f"| {size} crystals | " + " | ".join(f"{times[k]:.3f}" for k in KERNELS) + " |"
        )
    first = results["steps"][0]
    seconds = JARVIS_CRYSTALS / first["crystals"] * first["train_ms"] / 1000
    lines += ["", f"JARVIS epoch of {JARVIS_CRYSTALS} crystals, extrapolated: {seconds:.1f} s"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
