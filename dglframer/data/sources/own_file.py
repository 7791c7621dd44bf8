"""What the sources that read one file of the user's have in common."""

from collections.abc import Sequence
from pathlib import Path

from dglframer.common.errors import ConfigError


class OwnFile:
    """One local file, of which nothing is known but what its owner knows."""

    licence = "yours"
    citation = "yours"

    def __init__(self, path: Path, targets: Sequence[str], units: dict[str, str]):
        if not path.is_file():
            raise ConfigError(f"dataset.path: no file {path}")
        self.path, self.targets, self.units = path, targets, units

    def files(self) -> list[Path]:
        return [self.path]

    def notes(self) -> list[str]:
        return []
