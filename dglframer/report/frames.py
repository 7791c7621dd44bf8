"""A page on the frames of one crystal: what each block and head of a model sees from each atom."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dglframer.common.elements import SYMBOLS
from dglframer.common.files import write_text
from dglframer.common.version import __version__
from dglframer.config.networks import CrystalFramerConfig
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.networks.frames_seen import AtomSeen, Frame, distinct_axes, frames_seen
from dglframer.networks.model_directory import TrainedModel
from dglframer.report.pages import environment
from dglframer.report.plots import BLUE, GREEN, INK, ORANGE, PURPLE, SKY, Panel, svg
from dglframer.report.results import formula
from dglframer.report.scenes import scene
from dglframer.structures.periodic_graph import PeriodicGraph

ATOMS = 8  # distinct atoms on a page
SMALLEST = 0.005  # weights below are not shown
EDGES = 60  # shown edges of one atom, block and head
AXIS_COLOURS = (ORANGE, GREEN, BLUE)
VIEW_23 = np.array([[0.9397, -0.342, 0.0], [0.171, 0.4698, 0.866]])  # from the side, a little above
ITSELF = 1e-3  # angstrom


def write_frames(model: TrainedModel, graph: PeriodicGraph, about: str, out: Path) -> None:
    """Write the page of one crystal; ``about`` says which model. Raises UserError as frames_seen."""
    content = frames_content(model, graph, about)
    write_text(out, environment().get_template("frames.html.j2").render(frames=content))


def frames_content(model: TrainedModel, graph: PeriodicGraph, about: str) -> dict[str, Any]:
    """What the template of the frames shows: plain data for the script, a drawing and a table."""
    atoms = distinct_atoms(graph)
    seen = frames_seen(model, graph, atoms[:ATOMS])
    assert isinstance(model.network, CrystalFramer)
    settings = model.network.settings
    block, head = shown_first(seen[0])
    return {
        "id": graph.id,
        "formula": formula(graph.numbers_N),
        "about": about,
        "version": __version__,
        "settings": settings,
        "atoms": len(seen),
        "distinct_atoms": len(atoms),
        "sites": len(graph.numbers_N),
        "smallest": SMALLEST,
        "cutoff": model.cutoff,
        "symbol": symbol(graph, seen[0].atom),
        "block": block,
        "head": head,
        "svg": svg([frame_panel(graph, seen[0], block, head)], size=(5, 4.6)),
        "neighbours": neighbour_rows(graph, seen[0], block, head),
        "axes": axis_rows(seen[0].frames[block][head]),
        "heads": head_rows(graph, seen[0]),
        "data": {
            "structure": scene(graph.numbers_N, graph.lattice_33, graph.coords_N3),
            "blocks": settings.blocks,
            "heads": settings.heads,
            "first": [block, head],
            "atoms": [atom_data(graph, one, settings) for one in seen],
        },
    }


def distinct_atoms(graph: PeriodicGraph) -> list[int]:
    """The first atom of each orbit under the rotations of the crystal: the others see the same."""
    return np.unique(graph.orbits.proper_N).tolist()


def symbol(graph: PeriodicGraph, atom: int) -> str:
    return SYMBOLS[graph.numbers_N[atom] - 1]


def shown_first(one: AtomSeen) -> tuple[int, int]:
    """Block and head to begin with: of the last block the head that looks most at others."""
    others_F = np.linalg.norm(one.r_F3, axis=1) > ITSELF
    block = len(one.weights_LHF) - 1
    return block, int(one.weights_LHF[block][:, others_F].sum(1).argmax())


def atom_data(graph: PeriodicGraph, one: AtomSeen, settings: CrystalFramerConfig) -> dict[str, Any]:
    """One atom for the script; weights are pairs (place of an edge, weight in 1/10,000)."""
    kept: dict[int, int] = {}
    weights: list[list[list[tuple[int, int]]]] = []
    for block_HF in one.weights_LHF:
        weights.append([])
        for weight_F in block_HF:
            large = [
                f for f in np.argsort(-weight_F, kind="stable")[:EDGES] if weight_F[f] >= SMALLEST
            ]
            pairs = [
                (kept.setdefault(int(f), len(kept)), round(10000 * float(weight_F[f])))
                for f in large
            ]
            weights[-1].append(pairs)
    return {
        "atom": one.atom,
        "symbol": symbol(graph, one.atom),
        "copies": int((graph.orbits.proper_N == graph.orbits.proper_N[one.atom]).sum()),
        "edges": [
            [symbol(graph, int(one.neighbour_F[f])), *(round(float(x), 3) for x in one.r_F3[f])]
            for f in kept
        ],
        "weights": weights,
        "frames": [[frames_data(frames) for frames in heads] for heads in one.frames],
    }


def frames_data(frames: list[Frame]) -> dict[str, Any]:
    """Distinct axes e1, e2, e3, and each tied frame as their places with its share."""
    axes: list[list[list[float]]] = [[], [], []]
    tied = []
    for frame in frames:
        places = []
        for k in range(3):
            vector = [round(float(x), 4) + 0.0 for x in frame.axes_33[k]]
            if vector not in axes[k]:
                axes[k].append(vector)
            places.append(axes[k].index(vector))
        tied.append([*places, round(frame.share, 5)])
    return {"axes": axes, "tied": tied}


def neighbour_rows(
    graph: PeriodicGraph, one: AtomSeen, block: int, head: int
) -> list[dict[str, Any]]:
    """The neighbours of largest weight: symbol, distance, vector, weight."""
    weight_F = one.weights_LHF[block, head]
    order = [int(f) for f in np.argsort(-weight_F, kind="stable")[:10] if weight_F[f] >= SMALLEST]
    return [
        {
            "symbol": symbol(graph, int(one.neighbour_F[f])),
            "distance": float(np.linalg.norm(one.r_F3[f])),
            "vector": one.r_F3[f].tolist(),
            "weight": float(weight_F[f]),
        }
        for f in order
    ]


def axis_rows(frames: list[Frame]) -> list[dict[str, Any]]:
    """The distinct axes with their shares, at most six of each."""
    found = [(k, distinct_axes(frames, k)) for k in range(3)] if frames else []
    return [
        {"axis": f"e{'₁₂₃'[k]}", "vector": axis_3.tolist(), "share": share, "count": len(axes)}
        for k, axes in found
        for axis_3, share in axes[:6]
    ]


def head_rows(graph: PeriodicGraph, one: AtomSeen) -> list[dict[str, Any]]:
    """A row for each block and head: its weight on the atom itself, its best neighbour, its frames."""
    distance_F = np.linalg.norm(one.r_F3, axis=1)
    other = np.flatnonzero(distance_F > ITSELF)
    rows = []
    for block, heads in enumerate(one.weights_LHF):
        for head, weight_F in enumerate(heads):
            best = int(other[weight_F[other].argmax()]) if len(other) else None
            rows.append(
                {
                    "block": block,
                    "head": head,
                    "itself": float(weight_F[distance_F <= ITSELF].sum()),
                    "symbol": None if best is None else symbol(graph, int(one.neighbour_F[best])),
                    "distance": None if best is None else float(distance_F[best]),
                    "weight": None if best is None else float(weight_F[best]),
                    "frames": len(one.frames[block][head]),
                }
            )
    return rows


def frame_panel(
    graph: PeriodicGraph, one: AtomSeen, block: int, head: int, reach: float = 4.5
) -> Panel:
    """The neighbours of an atom with their weights as areas, and the axes it looks along.

    Seen from one side; ``reach`` in angstrom. Tied axes are as faint as their shares are small.
    """
    kinds = list(dict.fromkeys(symbol(graph, k) for k in range(len(graph.numbers_N))))
    palette = dict(
        zip(kinds, (SKY, PURPLE, "#b8860b", GREEN, ORANGE, "#777777") * 20, strict=False)
    )

    def draw(axes: Axes) -> None:
        weight_F = one.weights_LHF[block, head]
        distance_F = np.linalg.norm(one.r_F3, axis=1)
        shown = (distance_F > ITSELF) & (distance_F < reach)
        largest = float(weight_F[shown].max()) if shown.any() else 1.0
        for kind in kinds:
            mine = np.array([symbol(graph, int(j)) == kind for j in one.neighbour_F]) & shown
            x_F, y_F = VIEW_23 @ one.r_F3[mine].T
            look: dict[str, Any] = {"color": palette[kind], "linewidths": 0}
            axes.scatter(x_F, y_F, s=650 * weight_F[mine] / largest, alpha=0.5, zorder=3, **look)
            axes.scatter(x_F, y_F, s=16, zorder=4, label=kind, **look)
        axes.plot(0, 0, "o", color=INK, markersize=5, zorder=6)
        for k, colour in enumerate(AXIS_COLOURS):
            for axis_3, share in distinct_axes(one.frames[block][head], k):
                x, y = 0.42 * reach * VIEW_23 @ axis_3
                alpha = max(0.2, share) if share < 0.99 else 1.0
                arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 2, "alpha": alpha}
                axes.annotate("", (x, y), (0, 0), arrowprops={**arrow, "shrinkA": 0}, zorder=7)
        for k, colour in enumerate(AXIS_COLOURS if one.frames[block][head] else ()):
            axes.plot([], [], color=colour, linewidth=2, label=f"e{'₁₂₃'[k]}")
        axes.set(aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach))
        axes.set(title=f"{symbol(graph, one.atom)}, block {block + 1}, head {head + 1}")
        axes.set(xlabel="Å", ylabel="Å")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), handletextpad=0.3)

    return draw
