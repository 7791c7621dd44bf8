"""What the sources that read one file of the user's have in common."""

from collections.abc import Sequence
from pathlib import Path

from dglframer.common.errors import ConfigError
from dglframer.data.sources.periodicity import notes


class OwnFile:
    """One local file, of which nothing is known but what its owner knows."""

    licence = "yours"
    citation = "yours"

    def __init__(
        self,
        path: Path,
        targets: Sequence[str],
        units: dict[str, str],
        assume_periodic: bool = False,
    ):
        if not path.is_file():
            raise ConfigError(f"dataset.path: no file {path}")
        self.path, self.targets, self.units = path, targets, units
        self.assume_periodic = assume_periodic

    def files(self) -> list[Path]:
        return [self.path]

    def notes(self) -> list[str]:
        return notes(self.assume_periodic)
