"""What predictions are made of and from, for tests of them."""

import subprocess
import sys
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import torch

CPU = torch.device("cpu")
CIF = """data_NaCl
_cell_length_a 3.99
_cell_length_b 3.99
_cell_length_c 3.99
_cell_angle_alpha 60
_cell_angle_beta 60
_cell_angle_gamma 60
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na1 Na 0 0 0
Cl1 Cl 0.5 0.5 0.5
"""
POSCAR = """Cs
1.0
6.1 0 0
0 6.1 0
0 0 6.1
Cs
1
direct
0 0 0
"""


def structure_files(folder: Path) -> list[Path]:
    """Two good ones, and between them one without a structure and a disordered one."""
    folder.mkdir()
    (folder / "salt.cif").write_text(CIF)
    (folder / "caesium.vasp").write_text(POSCAR)
    (folder / "broken.cif").write_text("data_nothing\n")
    (folder / "disordered.cif").write_text(
        CIF.replace("_z\n", "_z\n_atom_site_occupancy\n")
        .replace("Na1 Na 0 0 0", "Na1 Na 0 0 0 0.5\nK1 K 0 0 0 0.5")
        .replace("0.5 0.5 0.5\n", "0.5 0.5 0.5 1\n")
    )
    return [folder / n for n in ("salt.cif", "broken.cif", "disordered.cif", "caesium.vasp")]


def rows(path: Path) -> list[dict]:
    """Those of a table of predictions."""
    table = pyarrow.csv.read_csv(path) if path.suffix == ".csv" else pq.read_table(path)
    return table.to_pylist()


def predict(*arguments, stdin=""):
    """(exit status, error output) of dglframer predict."""
    command = [sys.executable, "-m", "dglframer", "predict", *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr
