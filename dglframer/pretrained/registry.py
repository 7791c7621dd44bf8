"""The registry of the shipped models: what each name stands for, and what is known of it.

``registry.json`` maps a name to the fields of ``Shipped``. One folder of weights may have several names,
each restricted to one of its targets.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dglframer.common.errors import DamagedFile
from dglframer.common.files import read_json, sha256

FOLDER = Path(__file__).parent
REGISTRY = "registry.json"


@dataclass(frozen=True)
class Shipped:
    """A shipped model, or an ensemble of the members in its folder."""

    folder: str  # below this one
    files: dict[str, str]  # path below the folder: sha256
    target: str
    unit: str
    training_data: str
    licence: str
    citation: str
    elements: tuple[str, ...]  # that the training crystals hold
    test_mae: float  # of the ensemble, in ``unit``
    test_crystals: int
    precision: str  # of the stored weights

    def members(self) -> list[Path]:
        """The model directories; raises DamagedFile if a file is missing or another."""
        folder = FOLDER / self.folder
        for name, known in self.files.items():
            path = folder / name
            if not path.is_file() or sha256(path) != known:
                raise DamagedFile(f"{path}: missing or damaged; install dglframer again")
        return [(folder / name).parent for name in self.files if name.endswith("model.json")]


def shipped() -> dict[str, Shipped]:
    """All shipped models by name; raises DamagedFile."""
    path = FOLDER / REGISTRY
    try:
        content: dict[str, Any] = read_json(path)
        return {
            name: Shipped(**{**fields, "elements": tuple(fields["elements"])})
            for name, fields in content.items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise DamagedFile(f"{path}: not a registry of models ({error})") from None


def find(given: str | Path) -> Shipped | None:
    """The shipped model of a name; None for a path, which is a Path or has a separator."""
    if isinstance(given, Path) or "/" in given:
        return None
    return shipped().get(given)


def table(models: dict[str, Shipped]) -> str:
    """The models for a terminal, one below the other."""
    lines = []
    for name, one in models.items():
        lines += [
            name,
            f"  predicts   {one.target} ({one.unit or 'no unit'})",
            f"  test MAE   {one.test_mae:.3g} {one.unit}, of {one.test_crystals:,} crystals",
            f"  members    {sum(file.endswith('model.json') for file in one.files)}",
            f"  trained on {one.training_data}",
            f"  elements   {len(one.elements)}: {' '.join(one.elements)}",
            f"  licence    {one.licence}",
            f"  citation   {one.citation}",
        ]
    return "\n".join(lines) if lines else "no model comes with this version"


def as_values(models: dict[str, Shipped]) -> dict[str, Any]:
    """The content of registry.json."""
    return {name: asdict(one) for name, one in sorted(models.items())}
