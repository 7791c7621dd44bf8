"""import dglframer: light, and with all names of the interface."""

import subprocess
import sys

import pytest

import dglframer

HEAVY = ("torch", "numpy", "dgl", "pandas", "pyarrow", "pydantic", "pymatgen", "numba", "ase")
LOOK = "import sys, dglframer; dir(dglframer); print(*sys.modules)"


def test_import_loads_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert not set(HEAVY) & {name.partition(".")[0] for name in done.stdout.split()}


def test_every_name_is_there():
    assert {"load", "Model", "to_dgl", "from_dgl", "fit"} <= set(dir(dglframer))
    for name in dglframer.__all__:
        assert getattr(dglframer, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'calculator'"):
        dglframer.calculator  # noqa: B018
