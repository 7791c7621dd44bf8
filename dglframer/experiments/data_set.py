"""The file of a data set: the arrays of its parts train, val and test, and what describes them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

from dglframer.common.errors import DamagedFile
from dglframer.common.files import atomic_path, canonical_json

PARTS = ("train", "val", "test")

Arrays = Mapping[str, np.ndarray]


def write_arrays(
    path: Path, parts: Mapping[str, Arrays], experiment: str, description: Mapping[str, Any]
) -> None:
    """Write a safetensors file: ``train.positions`` and so on, with the description in its metadata.

    The metadata have a single key: safetensors writes several in any order, and equal data must give
    equal bytes.
    """
    tensors = {
        f"{part}.{name}": np.ascontiguousarray(array)
        for part, arrays in parts.items()
        for name, array in arrays.items()
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={experiment: canonical_json(description)})


def read_arrays(path: Path, experiment: str, names: tuple[str, ...]) -> dict[str, Arrays]:
    """The arrays ``names`` of each part; raises DamagedFile if the file is no data set of the experiment."""
    try:
        description_of(path, experiment)
        tensors = load_file(path)
        return {part: {name: tensors[f"{part}.{name}"] for name in names} for part in PARTS}
    except (OSError, KeyError, safetensors.SafetensorError) as error:
        raise DamagedFile(f"{path}: not a data set of `dglframer {experiment}` ({error})") from None


def description_of(path: Path, experiment: str) -> dict[str, Any]:
    """What ``write_arrays`` was given as description; raises KeyError if another experiment wrote it."""
    with safetensors.safe_open(path, framework="numpy") as file:
        return json.loads((file.metadata() or {})[experiment])
