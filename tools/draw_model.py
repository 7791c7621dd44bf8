"""Draw the three figures of docs/models/crystalframer.md, computed by dglframer itself on small crystals.

python tools/draw_model.py
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from dglframer.attention.contract import Attention
from dglframer.attention.frames import max_axes, tie_share
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import Batch, batch_graphs
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.report.plots import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, Panel, svg
from dglframer.structures.crystal import Crystal
from dglframer.structures.periodic_graph import build_graph

SIGMAS = {1.0: GREEN, 1.4: BLUE, 1.98: ORANGE}  # Å; 1.4 is r0, 1.98 the largest possible
DEFAULT_CUTOFF = 8.4
TIE_WIDTH = CrystalFramerConfig().frame_tie_width
VIEW_23 = np.array([[1, 0, 0], [0, 2 / 5**0.5, -1 / 5**0.5]])  # shows all six axes


def zirconia() -> Crystal:
    """Baddeleyite, monoclinic ZrO2, P2_1/c: no atom lies on a symmetry element."""
    a, b, c, beta = 5.150, 5.212, 5.317, np.radians(99.2)
    lattice_33 = np.array([[a, 0, 0], [0, b, 0], [c * np.cos(beta), 0, c * np.sin(beta)]])
    sites = {40: [(0.275, 0.040, 0.208)], 8: [(0.070, 0.332, 0.345), (0.450, 0.757, 0.479)]}
    numbers, frac = [], []
    for number, positions in sites.items():
        for x, y, z in positions:
            numbers += [number] * 4
            frac += [(x, y, z), (-x, -y, -z), (-x, y + 0.5, 0.5 - z), (x, 0.5 - y, z + 0.5)]
    return Crystal("ZrO2", np.array(numbers, np.int16), lattice_33, np.array(frac), {})


def rocksalt() -> Crystal:
    lattice_33 = 2.82 * (np.ones((3, 3)) - np.eye(3))
    frac_N3 = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    return Crystal("NaCl", np.array([11, 17], np.int16), lattice_33, frac_N3, {})


def near_mirror(shift: float) -> Crystal:
    """Ti and Sr on a mirror plane, two O that are its images but for ``shift`` (Å) of one."""
    lattice_33 = np.array([[6.1, 0, 0], [1.4, 6.6, 0], [0, 0, 7.3]])
    position_N3 = np.array([[0, 0, 0], [1.1, 0.7, 1.5 + shift], [1.1, 0.7, -1.5], [2.7, 3.9, 0]])
    frac_N3 = position_N3 @ np.linalg.inv(lattice_33)
    return Crystal("Pm", np.array([22, 8, 8, 38], np.int16), lattice_33, frac_N3, {})


def batch_of(crystals: list[Crystal], cutoff: float) -> Batch:
    graphs = [build_graph(crystal, cutoff) for crystal in crystals]
    return batch_graphs(graphs, torch.float64).without_dgl()


def frame_panels() -> list[Panel]:
    """What two heads see around one Zr of zirconia: weights of the images and the axes they give."""
    batch = batch_of([zirconia()], DEFAULT_CUTOFF)
    attention = Attention(batch, CrystalFramerConfig())
    zirconium_E = (batch.numbers_N[batch.src_E] == 40).double()
    heads = [("σ = 1.0 Å, no preference", 1.0, 0.0), ("σ = 1.98 Å, prefers Zr", 1.98, 2.0)]
    logits_EH = torch.stack(
        [like * zirconium_E - attention.d2_E / (2 * sigma**2) for _, sigma, like in heads], 1
    )
    axes = max_axes(logits_EH, attention.u_E3, attention.d2_E, batch.edge_ptr, TIE_WIDTH)
    assert (axes.ptr.diff() == 1).all()  # nothing ties here
    axes_H33 = axes.axes_P3L[0].reshape(3, 3, len(heads)).permute(2, 1, 0).numpy()
    mine = slice(0, int(batch.edge_ptr[1]))
    r_F3 = batch.r_E3[mine].numpy()
    number_F = batch.numbers_N[batch.src_E[mine]].numpy()
    d2_F = (r_F3**2).sum(1)
    shown_F = (d2_F > 1e-5) & (d2_F < 4.2**2)

    def panel(head: int) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            weight_F = torch.softmax(logits_EH[mine, head], 0).numpy()
            weight_F = weight_F / weight_F[shown_F].max()
            for number, colour, name in ((8, ORANGE, "O"), (40, BLUE, "Zr")):
                rows = shown_F & (number_F == number)
                x_F, y_F = VIEW_23 @ r_F3[rows].T
                axes.plot(x_F, y_F, ".", color=colour, markersize=2)
                seen = weight_F[rows] > 0.003
                look = {"color": colour, "alpha": 0.55, "linewidths": 0, "zorder": 3}
                axes.scatter(x_F[seen], y_F[seen], s=420 * weight_F[rows][seen], **look)
                axes.scatter([], [], s=60, label=name, **look)
            axes.plot(0, 0, "x", color=INK, markersize=6, zorder=5)
            for k, axis_3 in enumerate(axes_H33[head]):
                x, y = 2 * VIEW_23 @ axis_3
                arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.5, "shrinkA": 0}
                axes.annotate("", (x, y), (0, 0), arrowprops=arrow, zorder=6)
                place = np.array([x, y]) * (1 + 0.36 / np.hypot(x, y))
                axes.text(*place, f"e{'₁₂₃'[k]}", ha="center", va="center", zorder=7)
            axes.set(title=heads[head][0], aspect="equal", xlim=(-4.2, 4.2), ylim=(-4.2, 4.2))
            axes.set(xlabel="Å", ylabel="Å")
            axes.legend(loc="upper right", handletextpad=0.1, borderpad=0)

        return draw

    return [panel(head) for head in range(len(heads))]


def weight_panels() -> list[Panel]:
    """Weights of the images around Na in NaCl, and what a cutoff leaves out, for three widths."""
    batch = batch_of([rocksalt()], 15.0)
    around = slice(0, int(batch.edge_ptr[1]))
    d_F = Attention(batch, CrystalFramerConfig()).d2_E[around].sqrt().numpy().round(6)
    shells = np.unique(d_F)

    def weight(d: np.ndarray, sigma: float) -> np.ndarray:
        return np.exp(-(d**2) / (2 * sigma**2))

    def beyond(cutoffs: np.ndarray, sigma: float) -> np.ndarray:
        out = (d_F > cutoffs[:, None]) * weight(d_F, sigma)
        return out.sum(1) / weight(d_F, sigma).sum()

    def one_image(axes: Axes) -> None:
        distance = np.linspace(0, 13, 131)
        for sigma, colour in SIGMAS.items():
            axes.plot(distance, weight(distance, sigma), color=colour, linewidth=1)
            look = {"color": colour, "markersize": 6, "label": f"σ = {sigma} Å"}
            axes.plot(shells, weight(shells, sigma), ".", **look)
        axes.set(title="weight of one image, of the atom itself = 1", xlabel="distance (Å)")
        finish(axes)

    def all_beyond(axes: Axes) -> None:
        for sigma, colour in SIGMAS.items():
            axes.step(shells, beyond(shells, sigma), where="post", color=colour, linewidth=1.2)
            for sigmas, marker in ((3.5, "v"), (6.0, "o")):
                reach = np.array([sigmas * sigma])
                axes.plot(reach, beyond(reach, sigma), marker, color=colour, markersize=6)
        for marker, text in (("v", "3.5 σ"), ("o", "6 σ")):
            axes.plot([], [], marker, color=FAINT, markersize=6, label=text)
        axes.set(title="share of all weight beyond a cutoff", xlabel="cutoff (Å)")
        finish(axes)

    def finish(axes: Axes) -> None:
        axes.axvline(DEFAULT_CUTOFF, color=INK, linewidth=0.9, linestyle="--")
        axes.text(DEFAULT_CUTOFF - 0.2, 2e-9, "8.4 Å", ha="right")
        axes.set(xlim=(0, 13.2), ylim=(1e-9, 3), yscale="log")
        axes.set_yticks([1, 1e-2, 1e-4, 1e-6, 1e-8], ["1", "10⁻²", "10⁻⁴", "10⁻⁶", "10⁻⁸"])
        axes.minorticks_off()
        axes.legend(loc="upper right", handletextpad=0.1, borderpad=0)

    return [one_image, all_beyond]


def tie_panels() -> list[Panel]:
    """The share of a candidate by its gap, and a network's output as two neighbours trade places."""
    shifts = np.linspace(-0.02, 0.02, 82)  # never 0, where ``first`` is left to rounding
    batch = batch_of([near_mirror(shift) for shift in shifts], 7.0)
    first, average = (random_network(ties)(batch)[:, 0].numpy() for ties in ("first", "average"))
    half = len(shifts) // 2
    middle = average[half - 1 : half + 1].mean()

    def share(axes: Axes) -> None:
        gap = torch.linspace(-0.01, 0.01, 201, dtype=torch.float64)
        one, two = tie_share(-gap.clamp(max=0), TIE_WIDTH), tie_share(gap.clamp(min=0), TIE_WIDTH)
        axes.plot(gap, one / (one + two), color=BLUE, label="towards one neighbour")
        axes.plot(gap, two / (one + two), color=PURPLE, label="towards the other")
        axes.set(title="share of each frame", xlabel="difference of the two log weights")
        axes.set(ylim=(-0.05, 1.3), yticks=(0, 0.5, 1), xticks=(-0.01, -0.005, 0, 0.005, 0.01))
        axes.legend(loc="upper center", ncols=2, columnspacing=1)

    def output(axes: Axes) -> None:
        for rows, label in ((slice(0, half), "first"), (slice(half, None), None)):
            axes.plot(shifts[rows], 1e3 * (first[rows] - middle), color=ORANGE, label=label)
        axes.plot(shifts, 1e3 * (average - middle), color=BLUE, label="average")
        axes.set(title="change of a network's output × 1000", xticks=(-0.02, -0.01, 0, 0.01, 0.02))
        axes.set(xlabel="displacement of one O from the mirror image (Å)")
        axes.legend()

    return [share, output]


@torch.no_grad()
def random_network(ties: Literal["first", "average"]) -> Callable[[Batch], Tensor]:
    """A network of one block; as after training, none of its weights is zero."""
    network = (
        CrystalFramer(CrystalFramerConfig(frame_ties=ties, blocks=1, element_properties=False))
        .draw(3)
        .double()
    )
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        parameter += 0.05 * torch.randn(parameter.shape, generator=generator).double()
    network.calibrate(batch_of([near_mirror(0.3)], 7.0))
    return network.eval().requires_grad_(False)


def drawings() -> dict[str, str]:
    """File name to SVG text."""
    return {
        "crystalframer_frame.svg": svg(frame_panels(), size=(3.9, 3.9)),
        "crystalframer_weights.svg": svg(weight_panels(), size=(4.2, 3.4)),
        "crystalframer_tie.svg": svg(tie_panels(), size=(4.2, 3.0)),
    }


if __name__ == "__main__":
    models = Path(__file__).parents[1] / "docs" / "models"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else models
    for name, text in drawings().items():
        (folder / name).write_text(text, encoding="utf-8")
        print(folder / name)
