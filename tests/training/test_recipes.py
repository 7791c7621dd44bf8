"""The papers' recipes: presets compared with the published tables, steps with plain arithmetic."""

import itertools
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from helpers.crystals import TARGETS
from helpers.paths import ROOT

from dglframer.common.errors import UserError
from dglframer.config import Config, parse_config
from dglframer.config.networks import CrystalFramerConfig
from dglframer.config.training import TrainingConfig
from dglframer.data.sources.catalogue import BY_NAME
from dglframer.data.split import read_split
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.loading import BudgetedBatches
from dglframer.training.distributed import Processes
from dglframer.training.epoch import begin_epoch, remaining_batches
from dglframer.training.prepare import prepare
from dglframer.training.trainer import Trainer

CPU = torch.device("cpu")
PRESETS = ROOT / "workflow" / "presets"

# data set: training crystals, batch, epochs, averaged epochs, steps of an epoch, last rate x 1e5
PUBLISHED = {
    "jarvis_formation_energy": (44_578, 256, 2000, 50, 174, 5.40),
    "jarvis_total_energy": (44_578, 256, 2000, 50, 174, 5.40),
    "jarvis_bandgap_opt": (44_578, 256, 2000, 50, 174, 5.40),
    "jarvis_bandgap_mbj": (14_537, 256, 2000, 50, 56, 9.40),
    "jarvis_hull_energy": (44_296, 256, 2000, 50, 173, None),
    "mp_formation_energy": (60_000, 128, 800, 50, 468, 5.31),
    "mp_bandgap": (60_000, 128, 800, 50, 468, 5.31),
    "mp_bulk_modulus": (4_664, 128, 800, 50, 36, None),
    "mp_shear_modulus": (4_664, 128, 800, 50, 36, None),
    "oqmd_formation_energy": (654_108, 1024, 200, 20, 638, 9.17),
    "oqmd_hull_energy": (654_108, 1024, 200, 20, 638, 9.17),
    "oqmd_bandgap": (654_108, 1024, 200, 20, 638, 9.17),
}


def preset(*names: str):
    """The config of preset files; a later file overrides the ones before."""
    merged: dict[str, Any] = {}
    for name in names:
        for section, values in yaml.safe_load((PRESETS / f"{name}.yaml").read_text()).items():
            if isinstance(values, dict):
                merged.setdefault(section, {}).update(values)
            else:
                merged[section] = values
    return parse_config(merged)


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_are_the_published_recipes(name):
    assert preset(name).crystalframer.even_third_axis is False
    crystals, batch, epochs, averaged, steps, last_rate = PUBLISHED[name]
    training = preset(name).training
    assert (training.batch_size, training.epochs) == (batch, epochs)
    assert training.averaged_epochs == averaged
    assert (training.optimizer, training.schedule) == ("adamw", "inverse_sqrt")
    assert (training.learning_rate, training.decay_steps) == (5e-4, 4000)
    assert (training.weight_decay, training.gradient_clip_norm) == (1e-5, 1.0)
    assert training.drop_last
    batches = list(BudgetedBatches(range(crystals), batch))
    assert len([indices for indices in batches if len(indices) == batch]) == steps
    taken = (epochs - averaged) * steps
    if last_rate is not None:
        rate = 5e-4 * (4000 / (4000 + taken)) ** 0.5
        assert abs(rate * 1e5 - last_rate) < 0.005
    assert preset(name).crystalframer == CrystalFramerConfig(element_properties=False)


def test_every_preset_is_known_and_valid():
    on_top = {"lightweight", "eight_blocks", "released_optimizer", "paper"}
    molecules = {"qm9", "qm9_subset"}
    assert {path.stem for path in PRESETS.glob("*.yaml")} == {*PUBLISHED, *on_top, *molecules}
    for name in molecules:
        assert set(preset(name).dataset.targets) <= set(BY_NAME["qm9"].targets)
    assert preset("qm9").training.optimizer == "adamw"  # the published training
    assert preset("qm9_subset").training.optimizer == "muon"  # the default recipe
    light = preset("jarvis_bandgap_mbj", "lightweight").crystalframer
    assert (light.angle_bins, light.angle_width_bins) == (16, 1.0)
    assert (light.distance_coefficient, light.angle_coefficient) == (1.5, 6.0)
    assert preset("oqmd_bandgap", "eight_blocks").crystalframer.blocks == 8
    paper = preset("paper").training
    assert (paper.optimizer, paper.schedule, paper.averaged_epochs) == ("adamw", "inverse_sqrt", 8)
    assert (paper.learning_rate, paper.decay_steps, paper.weight_decay) == (5e-4, 4000, 1e-5)
    assert preset("mp_bandgap", "released_optimizer").training.bias_decay == 0.01


SMALL = CrystalFramerConfig(blocks=1, width=16, heads=2, feedforward=16)
STRICT = TrainingConfig(  # every quantity of the recipe has a visible effect in a few steps
    optimizer="adamw",
    schedule="inverse_sqrt",
    epochs=3,
    averaged_epochs=1,
    batch_size=2,
    learning_rate=3e-3,
    decay_steps=5,
    weight_decay=0.3,
    bias_decay=0.1,
    gradient_clip_norm=0.05,
)


class Watched(Trainer):
    """A trainer that records the batch, loss and gradients of each step, and the parameters around it."""

    def gradients(self, batch, share, weight_T=None):
        result = super().gradients(batch, share, weight_T)
        values = [value.clone() for value in result[1:]]
        named = dict(zip(self.parameters_now(), values, strict=True))
        self.raw = [*getattr(self, "raw", []), named]
        return result

    def train_step(self, batch, averaging, *rest):
        before = self.parameters_now()
        loss = super().train_step(batch, averaging, *rest)
        rate = self.optimizers[0].param_groups[0]["lr"]
        self.seen = [*getattr(self, "seen", []), (before, batch, averaging, float(loss), rate)]
        self.after = [*getattr(self, "after", []), self.parameters_now()]
        return loss

    def parameters_now(self):
        return {name: p.detach().clone() for name, p in self.network.named_parameters()}


@pytest.fixture(scope="module")
def watched(tiny_run):
    parts = read_split(tiny_run.split)
    sets = [GraphDataset(tiny_run.graphs, parts[name]) for name in ("train", "val")]
    prepared = prepare(Config(crystalframer=SMALL, training=STRICT), *sets, 0, CPU)
    trainer = Watched(prepared, STRICT, Processes(CPU))
    for epoch in range(STRICT.epochs):
        trainer.epoch(epoch)
    return trainer


def labels_of(tiny_run) -> dict[str, list[float]]:
    """The labels of each crystal, read directly from the Parquet file."""
    rows = pq.read_table(tiny_run.crystals).to_pylist()
    return {row["id"]: [row[target] for target in TARGETS] for row in rows}


def test_rate_of_every_step(watched):
    rates = [rate for *_, rate in watched.seen]
    steps_before_averaging = 6
    expected = [3e-3 * (5 / (5 + t)) ** 0.5 for t in range(steps_before_averaging)]
    expected += [expected[-1]] * 3  # frozen while weights are averaged
    assert np.allclose(rates, expected, rtol=1e-12)
    assert [averaging for _, _, averaging, _, _ in watched.seen] == [False] * 6 + [True] * 3


def test_targets_are_normalised_by_the_training_set_and_the_loss_is_l1(watched, tiny_run):
    labels = labels_of(tiny_run)
    train = np.array([labels[id] for id in watched.train_set.ids])
    mean = train.sum(0) / len(train)
    std = (((train - mean) ** 2).sum(0) / len(train)) ** 0.5
    for before, batch, _, loss, _ in watched.seen:
        output = torch.func.functional_call(watched.network, before, (batch,)).detach().numpy()
        expected = np.zeros(2)
        for id, row in zip(batch.ids, output, strict=True):
            expected += abs(row - (labels[id] - mean) / std) / len(batch.ids)
        assert abs(loss - expected.sum()) < 1e-6


def test_gradients_are_of_the_recorded_loss(watched):
    for (before, batch, *_), raw in zip(watched.seen, watched.raw, strict=True):
        leaves = {name: value.clone().requires_grad_() for name, value in before.items()}
        output = torch.func.functional_call(watched.network, leaves, (batch,))
        loss = (output - watched.normalised(batch)).abs().mean(0).sum()
        values = torch.autograd.grad(loss, list(leaves.values()))
        for name, value in zip(leaves, values, strict=True):
            assert abs(value - raw[name]).max() <= 1e-6 * max(1, abs(value).max()), name


def test_every_step_is_clipped_adamw_by_hand(watched):
    """AdamW in float64 from the recorded gradients."""
    first = {name: 0.0 for name in watched.raw[0]}
    second = {name: 0.0 for name in watched.raw[0]}
    clipped = 0
    steps = zip(itertools.count(1), watched.seen, watched.raw, watched.after, strict=False)
    for t, (before, *_, rate), raw, after in steps:
        norm = sum(g.double().square().sum() for g in raw.values()).sqrt()
        clipped += norm > 0.05
        shrink = min(1.0, 0.05 / (norm + 1e-6))  # the small number is torch's
        for name, gradient in raw.items():
            gradient = gradient.double() * shrink
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.98 * second[name] + 0.02 * gradient.square()
            decay = 0.1 if name.endswith("bias") else 0.3
            value = before[name].double() * (1 - rate * decay)
            m, v = first[name] / (1 - 0.9**t), second[name] / (1 - 0.98**t)
            value = value - rate * m / (v.sqrt() + 1e-8)
            assert abs(value - after[name]).max() < 2e-6, (t, name)
    assert clipped == len(watched.after) == 9


def test_the_result_is_the_mean_of_every_step_of_the_last_epoch(watched):
    result = dict(watched.result.named_parameters())
    for name, value in result.items():
        mean = torch.stack([after[name].double() for after in watched.after[-3:]]).mean(0)
        assert abs(value - mean).max() < 1e-6, name
        assert not torch.equal(value, watched.after[-1][name]), name


def test_batches_by_atoms_and_short_last_batches(tiny_run):
    parts = read_split(tiny_run.split)
    train = GraphDataset(tiny_run.graphs, parts["train"])

    def sizes(**settings):
        training = TrainingConfig(averaged_epochs=0, **settings)
        batches = remaining_batches(begin_epoch(0, len(train), 0, CPU), train, training)
        return [len(indices) for indices in batches]

    assert sizes(batch_size=4) == [4, 2]
    assert sizes(batch_size=4, drop_last=True) == [4]
    assert sizes(batch_size=8, drop_last=True) == [6]  # the only one is not left out
    assert sizes(batch_size=8, atoms_per_batch=1) == [1] * 6


def test_crystals_of_too_many_atoms_are_left_out(tiny_run):
    every = GraphDataset(tiny_run.graphs)
    atoms_of = {one.id: len(one.numbers_N) for one in tiny_run.valid}
    min_atoms, *_, max_atoms = sorted(atoms_of.values())
    assert min_atoms < max_atoms
    small = every.at_most(max_atoms - 1)
    assert small.ids == [id for id in every.ids if atoms_of[id] < max_atoms]
    training = TrainingConfig(max_atoms=max_atoms - 1)
    prepared = prepare(Config(crystalframer=SMALL, training=training), every, every, 0, CPU)
    assert prepared.train_set.ids == small.ids and prepared.val_set.ids == every.ids
    assert np.allclose(prepared.mean_T, small.targets[small.rows].mean(0))
    assert small.atom_counts().tolist() == [atoms_of[id] for id in small.ids]
    assert every.at_most(None) is every
    with pytest.raises(UserError, match="no crystal has at most"):
        every.at_most(min_atoms - 1)
