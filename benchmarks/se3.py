"""The SE(3)-Transformer against a literal one, and spherical harmonics three ways.

`python benchmarks/se3.py [--lie-learn-python PYTHON]`: training steps in turn with a network that has the
same weights and builds every kernel as a matrix (checked: equal outputs), on five-body systems and on
crystals of the Materials Project (without their file: of the embedded minerals), and milliseconds for the
harmonics of 100,000 directions; all in CPU time of one thread. Writes benchmarks/results/se3.json,
docs/models/harmonics.svg and the tables of docs/models/se3_transformer.md; `--page` only does the last.
lie_learn is timed by an interpreter that has it (pip install lie-learn-escience "scipy<1.15").
"""

import copy
import functools
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from e3nn.o3 import spherical_harmonics
from pages import publish
from speed_cases import jarvis_like, mp_megnet
from torch import Tensor
from torch.nn import functional

from dglframer.config.networks import ENCODERS, EncoderName
from dglframer.experiments.nbody.models import SE3Transformer, complete_graph
from dglframer.graphs.batch import batch_graphs
from dglframer.networks.build import build
from dglframer.networks.se3_transformer.angles import harmonics_by_angles
from dglframer.networks.se3_transformer.basis import Pair
from dglframer.networks.se3_transformer.edges import Edges, edges_within
from dglframer.networks.se3_transformer.encoder import SE3Encoder
from dglframer.networks.se3_transformer.layers import HIDDEN, Features, Kernels
from dglframer.networks.se3_transformer.network import SE3Network
from dglframer.structures.crystal import Crystal
from dglframer.structures.periodic_graph import build_graph

ROOT = Path(__file__).resolve().parents[1]
RESULTS_FILE = ROOT / "benchmarks" / "results" / "se3.json"
MODELS = ROOT / "docs" / "models"
PAGE, PLOT = MODELS / "se3_transformer.md", MODELS / "harmonics.svg"
BEGIN, END = "<!-- table: written by benchmarks/se3.py -->", "<!-- end of table -->"
ROUNDS = 3
CRYSTALS = 16
POINTS = 100_000
HIGHEST = 8
LIE_LEARN = """
import json, sys, time
import numpy as np
from lie_learn.representations.SO3.spherical_harmonics import rsh
rng = np.random.default_rng(0)
theta, phi = np.arccos(rng.uniform(-1, 1, {points})), rng.uniform(-np.pi, np.pi, {points})
found = []
for highest in range({highest} + 1):
    seconds = []
    for _ in range({rounds}):
        started = time.process_time()
        for J in range(highest + 1):
            for m in range(-J, J + 1):
                rsh(J, m, theta, phi)
        seconds.append(time.process_time() - started)
    found.append(1000 * sorted(seconds)[len(seconds) // 2])
print(json.dumps(found))
"""


class LiteralKernels(Kernels):
    """Every kernel as a matrix [E, C'(2l + 1), C(2k + 1)], one radial net after the other."""

    def forward(
        self, features: Features, edges: Edges, basis: Mapping[Pair, Tensor]
    ) -> dict[str, Features]:
        messages: dict[str, Features] = {purpose: {} for purpose in self.purposes}
        for net, (purpose, (k, l)) in enumerate(self.names):
            channels = self.fiber_in[k]
            phi_EDCF = self.one_net(net, edges).unflatten(
                1, (-1, channels, self.terms((k, l)) // channels)
            )
            w_EMFN = basis[k, l].unflatten(1, (2 * l + 1, -1))
            # phi W summed over the frequencies, every factor of the formula an axis
            w_E1M1NF = w_EMFN.mT[:, None, :, None]
            kernel = (phi_EDCF[:, :, None, :, None] * w_E1M1NF).sum(-1).flatten(3).flatten(1, 2)
            message = (kernel @ features[k].flatten(1).unsqueeze(2)).view(
                len(kernel), -1, 2 * l + 1
            )
            so_far = messages[purpose].get(l)
            messages[purpose][l] = message if so_far is None else so_far + message
        if edges.envelope_E is not None:
            envelope_E11 = edges.envelope_E.view(-1, 1, 1)
            messages["value"] = {l: x * envelope_E11 for l, x in messages["value"].items()}
        return messages

    def one_net(self, net: int, edges: Edges) -> Tensor:
        h_EI = edges.radial_inputs_PI  # rows of one edge: P = E
        for name in ("first", "second"):
            part = {p: self.radial.get_parameter(f"{name}_{p}")[net]
                    for p in ("weight", "bias", "norm_weight", "norm_bias")}  # fmt: skip
            linear = h_EI @ part["weight"] + part["bias"]
            scale, shift = part["norm_weight"][0], part["norm_bias"][0]
            h_EI = torch.relu(functional.layer_norm(linear, (HIDDEN,), scale, shift))
        return self.last[net](h_EI)


def literal(encoder: SE3Encoder) -> SE3Encoder:
    """A copy with the same weights that builds the kernels of every edge."""
    other = copy.deepcopy(encoder)
    for module in other.modules():
        if isinstance(module, Kernels):
            module.__class__ = LiteralKernels
    return other


def five_bodies(systems: int) -> tuple[Features, Edges]:
    """Systems of five particles, all pairs edges, as in the N-body experiment."""
    generator = torch.Generator().manual_seed(0)
    x_B53, v_B53 = torch.randn(2, systems, 5, 3, generator=generator)
    charge_B5 = torch.randint(0, 2, (systems, 5), generator=generator) * 2.0 - 1
    return {1: v_B53.reshape(-1, 1, 3)}, complete_graph(x_B53, charge_B5)


def in_turn(functions: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median CPU seconds of each function, called one after the other ROUNDS times (and once before)."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(ROUNDS + 1):
        for name, function in functions.items():
            started = time.process_time()
            function()
            seconds[name].append(time.process_time() - started)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def compared(
    ours: SE3Encoder, features: Features, edges: Edges, degree: int
) -> dict[str, float | int]:
    """Seconds of a training step (forward, backward) of an encoder and of a literal one."""
    theirs = literal(ours)
    alone = replace(edges, alike_PD=None)
    with torch.no_grad():
        expected = theirs(features, alone)[degree]
        difference = (ours(features, edges)[degree] - expected).norm() / expected.norm()
    assert difference < 1e-5, difference

    def step(encoder: SE3Encoder, edges: Edges) -> Callable[[], None]:
        def run() -> None:
            encoder.zero_grad()
            encoder(features, edges)[degree].square().mean().backward()

        return run

    seconds = in_turn({"literal": step(theirs, alone), "ours": step(ours, edges)})
    return {
        "edges": len(edges.src_E),
        "rows": len(edges.rows_PD),
        "parameters": sum(parameter.numel() for parameter in ours.parameters()),
        **{f"{name}_seconds": value for name, value in seconds.items()},
        "ratio": seconds["literal"] / seconds["ours"],
        "difference": float(difference),
    }


def steps(degrees: int, systems: int = 128) -> dict[str, Any]:
    """The published N-body network."""
    torch.manual_seed(0)
    features, edges = five_bodies(systems)
    return {
        "degrees": degrees,
        **compared(SE3Transformer(degrees).encoder, features, edges, 1),
    }


def crystal_steps(encoder: EncoderName, crystals: list[Crystal]) -> dict[str, Any]:
    """A network for crystals with its default settings, all crystals in one batch."""
    network = build(ENCODERS[encoder](), 1).draw(0)
    assert isinstance(network, SE3Network)
    batch = batch_graphs([build_graph(crystal, network.cutoff) for crystal in crystals])
    edges = edges_within(batch, network.cutoff)
    with torch.no_grad():
        features = {0: network.embedding(batch.numbers_N - 1).unsqueeze(-1)}
    return {"encoder": encoder, **compared(network.encoder, features, edges, 0)}


def harmonics(lie_learn_python: Path | None) -> dict[str, list[float]]:
    """Milliseconds for all Y_JM up to J = 0, 1, ... 8 of 100,000 directions, one list for each way."""
    d_E3 = torch.randn(POINTS, 3, generator=torch.Generator().manual_seed(0))
    found: dict[str, list[float]] = {"e3nn": [], "recursion by angles": []}
    for highest in range(HIGHEST + 1):
        degrees = list(range(highest + 1))
        seconds = in_turn(
            {
                "e3nn": functools.partial(spherical_harmonics, degrees, d_E3, True, "integral"),
                "recursion by angles": functools.partial(harmonics_by_angles, highest, d_E3),
            }
        )
        for name, value in seconds.items():
            found[name].append(1000 * value)
    if lie_learn_python:
        code = LIE_LEARN.format(points=POINTS, rounds=3, highest=HIGHEST)
        command = [str(lie_learn_python), "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found["lie_learn"] = json.loads(done.stdout)
    return found


def plot(numbers: dict[str, Any]) -> None:
    """The milliseconds as curves."""
    from dglframer.report.plots import CURVES, plain_labels, svg

    def draw(axes: Any) -> None:
        for color, (name, values) in zip(CURVES, numbers["harmonics_ms"].items(), strict=False):
            axes.plot(range(len(values)), values, "o-", color=color, label=name, ms=4)
        axes.set(yscale="log", xlabel="highest J", ylabel="ms", title=f"{POINTS:,} directions")
        plain_labels(axes.yaxis)
        axes.legend()

    PLOT.write_text(svg([draw]), encoding="utf-8")


def rendered(numbers: dict[str, Any]) -> str:
    """Both tables."""
    lines = [
        f"CPU time of one thread, torch {numbers['torch']}, medians of {ROUNDS} steps in turn, batch of 128 "
        "five-body systems (2,560 edges):",
        "",
        "| degrees | parameters | literal, ms/step | ours, ms/step | ratio |",
        "|---|---|---|---|---|",
    ]
    for row in numbers["steps"]:
        literal_ms, ours_ms = (1000 * row[f"{name}_seconds"] for name in ("literal", "ours"))
        lines.append(
            f"| {row['degrees']} | {row['parameters']:,} | {literal_ms:.0f} | {ours_ms:.0f} "
            f"| {row['ratio']:.1f} |"
        )
    lines += [
        "",
        f"{CRYSTALS} crystals in a batch ({numbers['crystals_origin']}), default settings:",
        "",
        "| encoder | edges | rows | literal, ms/crystal | ours, ms/crystal | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for row in numbers["crystal_steps"]:
        literal_ms, ours_ms = (
            1000 * row[f"{name}_seconds"] / CRYSTALS for name in ("literal", "ours")
        )
        lines.append(
            f"| {row['encoder']} | {row['edges']:,} | {row['rows']:,} | {literal_ms:.0f} | {ours_ms:.1f} "
            f"| {row['ratio']:.1f} |"
        )
    lines += [
        "",
        f"All spherical harmonics up to J of {POINTS:,} directions, ms, one thread, float32 (lie_learn: "
        "float64, its only precision):",
        "",
        f"| J | {' | '.join(map(str, range(HIGHEST + 1)))} |",
        "|---|" + "---|" * (HIGHEST + 1),
    ]
    for name, values in numbers["harmonics_ms"].items():
        lines.append(f"| {name} | {' | '.join(f'{value:.1f}' for value in values)} |")
    return "\n".join(lines)


def measure(lie_learn_python: Path | None) -> dict[str, Any]:
    """Steps and harmonics, one thread."""
    torch.set_num_threads(1)
    sample = mp_megnet(CRYSTALS, 0) or jarvis_like(CRYSTALS, 0)
    encoders: tuple[EncoderName, ...] = ("se3_transformer", "tfn")
    numbers = {
        "torch": torch.__version__,
        "steps": [steps(degrees) for degrees in (2, 3, 4)],
        "crystals_origin": sample.origin,
        "crystal_steps": [crystal_steps(encoder, sample.crystals) for encoder in encoders],
        "harmonics_ms": harmonics(lie_learn_python),
    }
    print(json.dumps(numbers, indent=1))
    plot(numbers)
    return numbers


def main() -> None:
    publish(
        __doc__ or "",
        {"--lie-learn-python": {"type": Path, "help": "an interpreter that has lie_learn"}},
        lambda args: measure(args.lie_learn_python),
        RESULTS_FILE,
        (PAGE, BEGIN, END),
        rendered,
    )


if __name__ == "__main__":
    main()
