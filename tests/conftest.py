"""Fixtures that several test modules use, and how the tests compute."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import crystals
from helpers.crystals import TARGETS, TINY_CUTOFF, Run, write_crystals
from helpers.finished_run import run_once
from helpers.paths import SHARED
from hypothesis import settings

from dglframer.common.device import settle_mkl
from dglframer.config.data import GraphsConfig
from dglframer.data.crystals import validated
from dglframer.data.rejections import Rejections
from dglframer.data.sources.jarvis_minerals import JarvisMinerals
from dglframer.data.split import write_split
from dglframer.graphs.shards import write_graphs
from dglframer.structures.crystal import Crystal

# The same examples in every run: a red test must mean a changed program.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
os.environ.setdefault("DGLBACKEND", "pytorch")
# Triton looks at this when it decorates functions, its own and ours; e3nn already imports Triton.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
settle_mkl()  # as commands do: what is computed here is compared with what they compute


@pytest.fixture
def rocksalt() -> Crystal:
    """NaCl, primitive cell."""
    return crystals.rocksalt()


@pytest.fixture
def cscl_like() -> Crystal:
    """Two elements on a body-centred cubic lattice."""
    return crystals.cscl_like()


@pytest.fixture
def triclinic() -> Crystal:
    """No symmetry at all, and coordinates outside the cell."""
    return crystals.triclinic()


@pytest.fixture
def shared_data() -> Path:
    """The folder of real crystals; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no folder {SHARED}")
    return SHARED / "data"


@pytest.fixture(scope="session")
def finished(tiny_run) -> Iterator[Path]:
    """A folder in which the workflow has run once; see helpers/finished_run.py. Copy what you change."""
    root = Path(tempfile.mkdtemp(prefix="a run with ünicode "))
    yield run_once(root, tiny_run)
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Run:
    """Six train, three val and three test crystals of jarvis_minerals in three shards.

    It is shared: copy what you change.
    """
    found = sorted(
        validated(JarvisMinerals(TARGETS).records(), TARGETS, Rejections()),
        key=lambda one: (len(one.numbers_N), one.id),
    )
    wanted = {"train": 6, "val": 3, "test": 3}
    valid = [
        one
        for part, n in wanted.items()
        for one in [c for c in found if c.split == part][20 : 20 + n]
    ]
    root = tmp_path_factory.mktemp("tiny")
    write_crystals(root / "crystals.parquet", valid)
    write_split({one.id: one.split for one in valid}, root / "split.parquet", "canonical")
    manifest = write_graphs(
        root / "crystals.parquet",
        root / "graphs",
        GraphsConfig(cutoff_angstrom=TINY_CUTOFF, crystals_per_shard=5),
    )
    return Run(root, sorted(valid, key=lambda one: one.id), manifest)
