"""Model directories of every format version are read for ever, and predict what they did."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dglframer.common.errors import DamagedFile
from dglframer.graphs.batch import batch_graphs
from dglframer.networks.model_directory import FORMAT_VERSION, load_model, save_model
from dglframer.structures.crystal import Crystal
from dglframer.structures.periodic_graph import build_graph

MODELS = Path(__file__).parent / "models"


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION + 1))
def test_every_format_is_read(version):
    folder = MODELS / f"format-{version}"
    assert json.loads((folder / "model.json").read_text())["format_version"] == version
    expected = json.loads((folder / "expected.json").read_text())
    numbers = np.array(expected["numbers"], np.int16)
    lattice, frac = np.array(expected["lattice"]), np.array(expected["frac_coords"])
    model = load_model(folder)
    graph = build_graph(Crystal("triclinic", numbers, lattice, frac, {}), model.cutoff)
    with torch.no_grad():
        predictions = model.denormalise(model.network(batch_graphs([graph])), [numbers])[0]
    wanted_T = np.array(expected["predictions"])
    tolerance_T = 1e-6 * np.maximum(1, np.abs(wanted_T))
    assert (np.abs(predictions.numpy() - wanted_T) < tolerance_T).all()
    known = model.training_elements
    assert known is None if version < 4 else sum(known.values()) > 0
    assert sum(path.stat().st_size for path in folder.iterdir()) < 50_000


def test_a_changed_format_needs_a_new_version(tmp_path):
    """What is written today has the keys of the newest format: raise FORMAT_VERSION to change them."""
    newest = MODELS / f"format-{FORMAT_VERSION}"
    save_model(load_model(newest), tmp_path)
    then, now = (json.loads((folder / "model.json").read_text()) for folder in (newest, tmp_path))
    assert now.keys() == then.keys()
    assert now["settings"] == then["settings"]
    assert (tmp_path / "model.safetensors").read_bytes() == (
        newest / "model.safetensors"
    ).read_bytes()


def test_a_format_of_the_future_is_refused(tmp_path):
    model = load_model(MODELS / f"format-{FORMAT_VERSION}")
    save_model(model, tmp_path)
    path = tmp_path / "model.json"
    newer = json.loads(path.read_text()) | {"format_version": FORMAT_VERSION + 1}
    path.write_text(json.dumps(newer))
    with pytest.raises(DamagedFile, match=f"format {FORMAT_VERSION + 1}"):
        load_model(tmp_path)
