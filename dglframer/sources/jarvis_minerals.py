"""jarvis_minerals: JARVIS-DFT crystals that jarvis-tools carries as mineral prototypes.

The structures come from the installed jarvis-tools, the labels and the canonical split from the
table in ``dglframer/data/jarvis_minerals`` (see the README there for their origin).
"""

import csv
import importlib.util
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dglframer.crystals import Record
from dglframer.errors import ConfigError

LABELS = Path(__file__).parent.parent / "data" / "jarvis_minerals" / "labels.csv"

# target -> (unit, column of the canonical split of its benchmark)
TARGETS = {
    "formation_energy_peratom": ("eV/atom", "split"),
    "optb88vdw_bandgap": ("eV", "split"),
    "optb88vdw_total_energy": ("eV/atom", "split"),
    "mbj_bandgap": ("eV", "split_mbj_bandgap"),
    "ehull": ("eV/atom", "split_ehull"),
    "bulk_modulus_kv": ("GPa", "split_elastic"),
    "shear_modulus_gv": ("GPa", "split_elastic"),
}


class JarvisMinerals:
    """About 500 crystals of 1 to 100 atoms with OptB88vdW labels of JARVIS-DFT."""

    name = "jarvis_minerals"
    licence = "public domain in the US (NIST)"
    citation = "K. Choudhary et al., npj Comput. Mater. 6, 173 (2020)"

    def __init__(self, targets: Sequence[str]):
        for target in targets:
            self.unit(target)
        self.split_column = TARGETS[targets[0]][1]

    def files(self) -> list[Path]:
        return [structures_file(), LABELS]

    def notes(self) -> list[str]:
        entries = list(all_entries())
        foreign = sum(not id.startswith("JVASP-") for id, _ in entries)
        return [
            f"{foreign} of the {len(entries)} mineral entries of jarvis-tools carry Materials "
            "Project ids and have no JARVIS-DFT label: they are not part of this data set."
        ]

    def records(self) -> Iterator[Record]:
        with open(LABELS, newline="", encoding="utf-8") as handle:
            rows = {row["id"]: row for row in csv.DictReader(handle)}
        for id, atoms in all_entries():
            if id.startswith("JVASP-"):
                yield self.record(id, atoms, rows.get(id, {}))

    def record(self, id: str, atoms: dict[str, Any], row: dict[str, str]) -> Record:
        """One entry; jarvis-tools keeps Cartesian coordinates here (``cartesian: true``)."""
        lattice_33 = np.array(atoms["lattice_mat"], dtype=np.float64)
        coords_N3 = np.array(atoms["coords"], dtype=np.float64)
        frac_N3 = coords_N3 @ np.linalg.inv(lattice_33) if atoms["cartesian"] else coords_N3
        labels = {name: float(row[name]) for name in TARGETS if row.get(name)}
        return Record(
            id, atoms["elements"], lattice_33, frac_N3, labels, row.get(self.split_column, "")
        )

    def unit(self, target: str) -> str:
        if target not in TARGETS:
            raise ConfigError(
                f"jarvis_minerals has no target {target}; it has {', '.join(TARGETS)}"
            )
        return TARGETS[target][0]


def structures_file() -> Path:
    """The zip inside the installed jarvis-tools (found without importing the package)."""
    spec = importlib.util.find_spec("jarvis")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("the data set jarvis_minerals needs the package jarvis-tools")
    return Path(spec.submodule_search_locations[0]) / "core" / "mineral_name_prototype.json.zip"


def all_entries() -> Iterator[tuple[str, dict[str, Any]]]:
    """(id, atoms) of each mineral; the file maps a prototype to [name, descriptor, id, atoms]s."""
    with zipfile.ZipFile(structures_file()) as archive:
        prototypes = json.loads(archive.read("mineral_name_prototype.json"))
    for entries in prototypes.values():
        for _name, _descriptor, id, atoms in entries:
            yield id, atoms
