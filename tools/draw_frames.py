"""Draw docs/frames.svg, the README's picture: what a trained model sees from two atoms of zirconia.

    python tools/draw_frames.py results/models/seed-0

The model has frames; `make run` trains one.
"""

import sys
from pathlib import Path

from draw_model import zirconia

from dglframer.networks.frames_seen import frames_seen
from dglframer.networks.model_directory import load_model
from dglframer.report.frames import frame_panel, shown_first
from dglframer.report.plots import svg
from dglframer.structures.periodic_graph import build_graph

FILE = Path(__file__).parents[1] / "docs" / "frames.svg"
ATOMS = {"Zr": 0, "O": 4}


def drawing(folder: Path) -> str:
    """A panel for each atom: of the last block the head that looks most at others."""
    model = load_model(folder)
    graph = build_graph(zirconia(), model.cutoff)
    found = frames_seen(model, graph, list(ATOMS.values()))
    panels = [frame_panel(graph, seen, *shown_first(seen)) for seen in found]
    return svg(panels, size=(4.6, 3.9))


if __name__ == "__main__":
    FILE.write_text(drawing(Path(sys.argv[1])), encoding="utf-8")
    print(FILE)
