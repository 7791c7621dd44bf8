"""ScanObjectNN: scanned objects in the HDF5 files that its authors give to those who ask.

Its terms of use forbid to pass it on, so it is not here and nothing downloads it: ask its authors by the
form at https://hkust-vgd.github.io/scanobjectnn. The folder ``main_split_nobg`` has the objects without
background.
"""

from pathlib import Path
from typing import Any

import numpy as np

from dglframer.common.errors import DamagedFile, UserError
from dglframer.config.experiments import UpAxis
from dglframer.experiments.shapes.clouds import POINTS, Clouds, normalised

FILES = {"train": "training_objectdataset.h5", "test": "test_objectdataset.h5"}
# In the order of the numbers in the files.
CLASSES = (
    "bag",
    "bin",
    "box",
    "cabinet",
    "chair",
    "desk",
    "display",
    "door",
    "shelf",
    "table",
    "bed",
    "pillow",
    "sink",
    "sofa",
    "toilet",
)
FEWEST = 4  # objects in a file; fewer do not make a batch
VAL_SHARE = 0.1  # of the training objects; the authors have no validation part


def read_scans(folder: Path, up: UpAxis, seed: int) -> dict[str, Clouds]:
    """128 points of each object, z up; every tenth training object, drawn from ``seed``, validates.

    Raises UserError without h5py, DamagedFile if a file is not one of ScanObjectNN.
    """
    known = {part: read_file(folder / name) for part, name in FILES.items()}
    rng = np.random.default_rng(seed)
    clouds = {
        part: Clouds(np.stack([thinned(one, up, rng) for one in points]), labels)
        for part, (points, labels) in known.items()
    }
    order = rng.permutation(len(clouds["train"]))
    n_val = max(1, round(VAL_SHARE * len(order)))
    rows = {"train": np.sort(order[n_val:]), "val": np.sort(order[:n_val])}
    whole = clouds["train"]
    parts = {part: Clouds(whole.points[of], whole.labels[of]) for part, of in rows.items()}
    return {**parts, "test": clouds["test"]}


def read_file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, P, 3] and labels [N] of one file, checked."""
    try:
        import h5py
    except ImportError:
        raise UserError(
            "ScanObjectNN needs the package h5py: pip install 'dglframer[scans]'"
        ) from None
    try:
        with h5py.File(path, "r") as file:
            points, labels = file["data"][:], file["label"][:]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DamagedFile(f"{path}: not a file of ScanObjectNN ({error})") from None
    problem = wrong(points, labels)
    if problem:
        raise DamagedFile(f"{path}: not a file of ScanObjectNN ({problem})")
    return points.astype(np.float64), labels.reshape(-1).astype(np.int64)


def wrong(points: Any, labels: Any) -> str | None:
    """What is not as in ScanObjectNN; None if nothing is."""
    if points.ndim != 3 or points.shape[2] != 3 or points.shape[1] < POINTS:
        return f"data has the shape {points.shape}, not [objects, at least {POINTS}, 3]"
    if len(points) < FEWEST or labels.size != len(points):
        return f"{len(points)} objects and {labels.size} labels"
    if points.dtype.kind != "f" or not np.isfinite(points).all():
        return "data has values that are no finite numbers"
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= len(CLASSES):
        return f"a label is not one of 0 to {len(CLASSES) - 1}"
    if (np.ptp(points, axis=1).max(axis=1) == 0).any():
        return "all points of an object are the same"
    return None


def thinned(points_P3: np.ndarray, up: UpAxis, rng: np.random.Generator) -> np.ndarray:
    """[128, 3]: some of the points, turned so that z is up, normalised."""
    distinct = np.unique(points_P3, axis=0)  # a scan of few points was filled up by repeating them
    chosen = rng.choice(distinct, POINTS, replace=len(distinct) < POINTS)
    if up == "y":  # by 90° about x
        chosen = np.stack([chosen[:, 0], -chosen[:, 2], chosen[:, 1]], axis=1)
    return normalised(chosen).astype(np.float32)
