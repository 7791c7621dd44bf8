"""Equivalent atoms computed once, from training to prediction: the numbers of every atom by itself."""

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.crystals import TARGETS, TINY_CUTOFF, quartz, write_crystals
from helpers.descriptions import supercell

from dglframer.config import Config
from dglframer.config.data import GraphsConfig
from dglframer.config.networks import CrystalFramerConfig, symmetry_group
from dglframer.config.training import TrainingConfig
from dglframer.data.crystals import validated
from dglframer.data.rejections import Rejections
from dglframer.data.sources.jarvis_minerals import JarvisMinerals
from dglframer.evaluation.ensemble import Ensemble
from dglframer.evaluation.items import Item
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.shards import write_graphs
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.networks.inference import predict
from dglframer.networks.model_directory import Target, TrainedModel, load_model, save_model
from dglframer.structures.periodic_graph import build_graph
from dglframer.training.prepare import prepare
from dglframer.training.run import train_model

CPU = torch.device("cpu")
SMALL = CrystalFramerConfig(
    blocks=2, width=16, heads=2, feedforward=16, angle_bins=16, distance_bins=16
)
FRAMES = ("max", "max_static", "none")


def with_symmetry(symmetry: str, frame: str) -> CrystalFramerConfig:
    return SMALL.model_copy(update={"symmetry": symmetry, "frame": frame})


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Six and three minerals of 6 to 12 atoms."""
    folder = tmp_path_factory.mktemp("minerals")
    found = validated(JarvisMinerals(TARGETS).records(), TARGETS, Rejections())
    valid = list(islice((one for one in found if 6 <= len(one.numbers_N) <= 12), 9))
    write_crystals(folder / "crystals.parquet", valid)
    config = GraphsConfig(cutoff_angstrom=TINY_CUTOFF)
    write_graphs(folder / "crystals.parquet", folder / "graphs", config)
    ids = [one.id for one in valid]
    return [GraphDataset(folder / "graphs", part) for part in (ids[:6], ids[6:])]


@pytest.mark.parametrize("frame", FRAMES)
def test_a_training_takes_the_same_steps(sets, frame):
    """Batches, losses, rates and errors of three epochs; averaged weights at the end."""
    found = {}
    for symmetry in ("auto", "none"):
        training = TrainingConfig(epochs=3, batch_size=4)
        config = Config(crystalframer=with_symmetry(symmetry, frame), training=training)
        lines: list[dict] = []
        model = train_model(config, *sets, 0, CPU, each_epoch=lines.append)
        weights = torch.cat([p.flatten() for p in model.network.parameters()])
        found[symmetry] = lines, weights, model.history
    for one, other in zip(found["auto"][0], found["none"][0], strict=True):
        assert one["step"] == other["step"] and one["learning_rate"] == other["learning_rate"]
        for key in ("train_loss", "val_loss"):
            assert one[key] == pytest.approx(other[key], abs=2e-4)
    assert (found["auto"][1] - found["none"][1]).abs().max() < 2e-3
    assert found["auto"][2]["training_crystals"] == found["none"][2]["training_crystals"] == 6


def test_fewer_atoms_are_computed_and_none_if_the_key_says_so(sets):
    for frame in FRAMES:
        sizes = {}
        for symmetry in ("auto", "none"):
            config = Config(crystalframer=with_symmetry(symmetry, frame))
            prepared = prepare(config, *sets, 0, CPU)
            batch = prepared.train_set.collate(prepared.train_set.rows)
            sizes[symmetry] = len(batch.numbers_N)
            assert batch.group == symmetry_group(config.crystalframer)
        assert sizes["auto"] < 0.7 * sizes["none"]


def test_max_atoms_counts_every_atom(sets):
    atoms = sets[0].atom_counts()
    limit = int(np.sort(atoms)[2])
    config = Config(training=TrainingConfig(max_atoms=limit))
    kept = prepare(config, *sets, 0, CPU).train_set
    assert len(kept) == (atoms <= limit).sum() and kept.group == "proper"


@pytest.mark.parametrize("frame", FRAMES)
def test_predictions_for_shards_do_not_depend_on_the_key(sets, frame):
    network = CrystalFramer(with_symmetry("none", frame), 1).draw(0)
    network.calibrate(sets[0].collate(sets[0].rows))
    every_atom = predict(network, sets[1], CPU)
    network.settings = with_symmetry("auto", frame)
    assert np.abs(predict(network, sets[1], CPU) - every_atom).max() < 1e-5
    assert np.abs(every_atom).max() > 1e-3


def test_vectors_of_atoms_are_of_every_atom():
    crystals = [quartz(), supercell(quartz(), (1, 1, 2))]
    items = [Item(one.id, "", (0, 1), one, build_graph(one, TINY_CUTOFF)) for one in crystals]
    found = []
    for symmetry in ("auto", "none"):
        network = CrystalFramer(with_symmetry(symmetry, "max"), 1).draw(0).eval()
        model = TrainedModel(network, TINY_CUTOFF, (Target("energy", "eV", 0.0, 1.0),), {})
        ensemble = Ensemble((model,), (), CPU)
        found.append((ensemble.predict_and_embed(items)[0], *ensemble.atom_vectors(items)))
    assert [len(one) for one in found[0][1:]] == [9, 18]
    for one, other in zip(*found, strict=True):
        assert np.abs(one - other).max() < 1e-5


def test_a_model_without_the_key_is_computed_by_orbits(tmp_path: Path):
    """Models of before the key: it has its default."""
    network = CrystalFramer(SMALL, 1).draw(0)
    save_model(TrainedModel(network, 5.0, (Target("energy", "eV", 0.0, 1.0),), {}), tmp_path)
    description = json.loads((tmp_path / "model.json").read_text())
    assert description["settings"].pop("symmetry") == "auto"
    (tmp_path / "model.json").write_text(json.dumps(description))
    assert symmetry_group(load_model(tmp_path).network.settings) == "proper"
