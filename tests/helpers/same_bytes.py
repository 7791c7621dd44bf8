"""Files that must be equal to the bit; where they are not, what differs is said in numbers."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file


def assert_same_bytes(first: Path, second: Path) -> None:
    """Raise AssertionError naming the parts of two files that differ."""
    same = first.read_bytes() == second.read_bytes()
    assert same, f"{first} and {second} differ: {differing_parts(first, second)}"


def differing_parts(first: Path, second: Path) -> dict[str, str]:
    """The columns or tensors that differ, each with how many values do and by how much at most."""
    if first.suffix == ".parquet":
        tables = [pq.read_table(path) for path in (first, second)]
        parts = [{name: table[name].to_numpy() for name in table.schema.names} for table in tables]
    elif first.suffix == ".safetensors":
        parts = [load_file(path) for path in (first, second)]
    else:
        texts = [np.array(path.read_text().splitlines()) for path in (first, second)]
        parts = [{"lines": lines} for lines in texts]
    names = parts[0].keys() | parts[1].keys()
    found = {name: difference(*(part.get(name) for part in parts)) for name in sorted(names)}
    return {name: how for name, how in found.items() if how}


def difference(one: np.ndarray | None, other: np.ndarray | None) -> str | None:
    """How two arrays differ; None if they do not."""
    if one is None or other is None or one.shape != other.shape:
        return "not in both, or of another shape"
    floating = one.dtype.kind == "f"
    unequal = ~np.isclose(one, other, 0, 0, equal_nan=True) if floating else one != other
    if not unequal.any():
        return None
    size = f", by {np.abs(one - other)[unequal].max():.1e} at most" if floating else ""
    return f"{unequal.sum()} of {unequal.size} values{size}"
