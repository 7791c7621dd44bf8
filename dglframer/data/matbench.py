"""Matbench (Dunn et al., npj Computational Materials 6, 138, 2020): tasks on structures, ids and folds.

A file of a task is a frame without ids; its rows are ``matbench_jdft2d-0``, ``matbench_jdft2d-1``, ... here
(``dataset.source: json``), and ``mb-jdft2d-001``, ``mb-jdft2d-002``, ... in matbench.
"""

import random
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from dglframer.common.errors import UserError
from dglframer.config.data import SplitConfig
from dglframer.data.split_methods import val_and_train
from dglframer.data.split_table import SplitTable

N_FOLDS = 5
SEED = 18012019  # of matbench's folds


class Task(NamedTuple):
    """How many structures a task has, and the column and unit of its labels."""

    size: int
    target: str
    unit: str


# Regression from structures; matbench's other tasks are from compositions, or classify.
TASKS = {
    "matbench_dielectric": Task(4764, "n", ""),
    "matbench_jdft2d": Task(636, "exfoliation_en", "meV/atom"),
    "matbench_log_gvrh": Task(10987, "log10(G_VRH)", "log10(GPa)"),
    "matbench_log_kvrh": Task(10987, "log10(K_VRH)", "log10(GPa)"),
    "matbench_mp_e_form": Task(132752, "e_form", "eV/atom"),
    "matbench_mp_gap": Task(106113, "gap pbe", "eV"),
    "matbench_perovskites": Task(18928, "e_form", "eV/unit cell"),
    "matbench_phonons": Task(1265, "last phdos peak", "cm^-1"),
}
ID = re.compile(r"(matbench_\w+)-([0-9]+)|mb-([a-z0-9-]+)-([0-9]+)")


def place(id: str) -> tuple[str, int]:
    """The task and the row, from 0, of a crystal's id in either form; raises UserError."""
    if found := ID.fullmatch(id):
        ours, row, theirs, number = found.groups()
        task = ours or f"matbench_{theirs.replace('-', '_')}"
        k = int(row) if ours else int(number) - 1
        if task in TASKS and 0 <= k < TASKS[task].size:
            return task, k
    raise UserError(
        f"{id} is no structure of matbench: the file must keep its name, {', '.join(TASKS)} "
        "(.json or .json.gz), and its rows"
    )


def task_of(ids: Iterable[str]) -> str:
    """The one task that all ids are of; raises UserError."""
    tasks = sorted({place(id)[0] for id in ids})
    if len(tasks) != 1:
        raise UserError(f"structures of one task of matbench are needed, not of {tasks or 'none'}")
    return tasks[0]


def fold_rows(task: str, fold: int) -> np.ndarray:
    """The rows, from 0 and in order, that are the test part of a fold."""
    size = TASKS[task].size
    order = np.random.RandomState(SEED).permutation(size)
    return np.sort(np.array_split(order, N_FOLDS)[fold])


def matbench_id(task: str, row: int) -> str:
    """The id that matbench gives a row, as mb-jdft2d-001."""
    digits = len(str(TASKS[task].size))
    return f"{task.replace('matbench', 'mb').replace('_', '-')}-{row + 1:0{digits}d}"


def matbench_split(crystals: SplitTable, config: SplitConfig) -> None:
    """Matbench's fold ``split.fold`` is test; val is drawn from the others. Raises UserError.

    The ids are in memory: no task has more than 132,752.
    """
    if config.folds != N_FOLDS:
        raise UserError(f"split.folds: matbench has {N_FOLDS} folds")
    ids = sorted(id for batch in crystals.kept() for id in batch["id"].to_pylist())
    test = set(fold_rows(task_of(ids), config.fold).tolist())
    parts = ["test"] * len(ids)
    rest = [k for k, id in enumerate(ids) if place(id)[1] not in test]
    random.Random(config.seed).shuffle(rest)
    val_and_train(rest, np.ones(len(ids), np.int64), len(ids), config, parts)
    crystals.add(ids, parts=parts)
