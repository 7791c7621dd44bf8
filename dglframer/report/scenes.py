"""Structures as the scripts of a page draw them, and the scripts themselves."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dglframer.common.elements import SYMBOLS

SCRIPTS = Path(__file__).parent / "scripts"
LIBRARIES = {"plotly": "plotly-basic.min.js", "3dmol": "3Dmol-min.js"}


def scene(
    numbers_N: np.ndarray, lattice_33: np.ndarray | None, coords_N3: np.ndarray
) -> dict[str, Any]:
    """A structure for crystal.js: symbols, the lattice (angstrom, row after row), and coordinates.

    Coordinates are whole numbers of 1/10,000 of the lattice vectors, in a cell from 0 to 1, or of a
    molecule (lattice None) of 1/1,000 angstrom.
    """
    symbols = [SYMBOLS[z - 1] for z in numbers_N]
    if lattice_33 is None:
        return {
            "s": symbols,
            "l": None,
            "f": np.rint(1000 * coords_N3).astype(int).ravel().tolist(),
        }
    frac_N3 = np.rint(10000 * (coords_N3 % 1.0)).astype(int) % 10000
    lattice = [round(float(x), 4) for x in np.ravel(lattice_33)]
    return {"s": symbols, "l": lattice, "f": frac_N3.ravel().tolist()}


@cache
def script(name: str) -> Any:
    """A script of the package as a part of a page."""
    from markupsafe import Markup

    return Markup((SCRIPTS / name).read_text(encoding="utf-8"))


def library(name: str) -> Any:
    """A library as text on the page, which ``page.library`` starts when it is needed."""
    from markupsafe import Markup

    text = script(f"libraries/{LIBRARIES[name]}")
    return (
        Markup('<script type="text/plain" id="library-{}">').format(name)
        + text
        + Markup("</script>")
    )


def data_block(content: Any, id: str) -> Any:
    """Plain data as a block of JSON; no text in it can end the block. NaN is refused (ValueError)."""
    from markupsafe import Markup

    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c")
    return (
        Markup('<script type="application/json" id="{}">').format(id)
        + Markup(text)
        + Markup("</script>")
    )
