"""dglframer: crystal properties from periodic graphs with CrystalFramer.

``load``, ``Model``, ``to_dgl``, ``from_dgl``, ``to_pyg`` and ``fit`` are the Python interface
(docs/guide/python.md). They are imported at their first use: ``import dglframer`` loads nothing heavy.
"""

from typing import TYPE_CHECKING, Any

from dglframer.common.version import __version__

if TYPE_CHECKING:
    from dglframer.interface.fit import Fitted, fit
    from dglframer.interface.graphs import from_dgl, to_dgl, to_pyg
    from dglframer.interface.model import Model, load


__all__ = ["Fitted", "Model", "__version__", "fit", "from_dgl", "load", "to_dgl", "to_pyg"]

HOMES = {"Fitted": "fit", "fit": "fit", "from_dgl": "graphs", "to_dgl": "graphs"}
HOMES |= {"Model": "model", "load": "model", "to_pyg": "graphs"}


def __getattr__(name: str) -> Any:
    """Import a name of the interface at its first use."""
    if name not in HOMES:
        raise AttributeError(f"module 'dglframer' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"dglframer.interface.{HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
