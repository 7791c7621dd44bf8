"""The quantities of the recipe one by one, and the promises of a training."""

import copy
import json
import math
import re
import shutil
import sys

import numpy as np
import pytest
import torch
from helpers.crystals import TARGETS
from helpers.recipes import PAPER
from helpers.trainers import CPU, SMALL, config, train_and_val, trainer

from dglframer.common.errors import UserError
from dglframer.config.training import TrainingConfig
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.loading import batches
from dglframer.networks.build import build
from dglframer.networks.inference import predict
from dglframer.networks.model_directory import load_model, save_model
from dglframer.training.checkpoints import open_checkpoints
from dglframer.training.optimiser import (
    l1_loss,
    label_weights,
    optimizers_for,
)
from dglframer.training.prepare import prepare
from dglframer.training.run import TrainingRun, train_model
from dglframer.training.schedule import rate_factor


@pytest.fixture
def sets(tiny_run):
    return train_and_val(tiny_run)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_seed_of_the_training_draws_the_first_weights(sets, seed):
    weights = trainer(sets, seed).network.state_dict()
    for name, value in build(SMALL, len(TARGETS)).draw(seed).state_dict().items():
        if not name.endswith(("sigma_scale", "sigma_shift")):  # of the calibration
            assert torch.equal(weights[name], value), name
    other = build(SMALL, len(TARGETS)).draw(seed + 1).state_dict()
    assert not torch.equal(weights["embedding.weight"], other["embedding.weight"])


def test_rate_at_step_t():
    training = TrainingConfig(**PAPER)
    # the rate in the averaged epochs that the paper's JARVIS run implies
    assert 5e-4 * rate_factor(174 * 1950, 0.5, training) == pytest.approx(5.40e-5, rel=2e-3)
    assert rate_factor(0, 0.0, training) == 1


def test_rates_of_a_run_and_the_frozen_one(sets):
    run = trainer(sets, decay_steps=2.0, learning_rate=1e-3)
    rates = [run.epoch(epoch)["learning_rate"] for epoch in range(3)]
    last_step = [1, 3]  # two steps an epoch; the rate of the last of them
    expected = [1e-3 * math.sqrt(2 / (2 + step)) for step in last_step]
    assert rates == pytest.approx([*expected, expected[-1]])


def test_biases_and_weights_decay_apart(sets):
    run = trainer(sets)
    weights, biases = optimizers_for(run.network, TrainingConfig(**PAPER))[0].param_groups
    assert (weights["weight_decay"], biases["weight_decay"]) == (1e-5, 0.0)
    assert weights["betas"] == (0.9, 0.98)
    n_biases = sum("bias" in name for name, _ in run.network.named_parameters())
    assert len(biases["params"]) == n_biases == 8
    assert len(weights["params"]) + n_biases == len(list(run.network.parameters()))


def test_loss_is_the_mean_over_crystals_of_the_sum_over_targets():
    output, target = torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.zeros(2, 2)
    assert l1_loss(output, target) == (1 + 2 + 0 + 1) / 2


def test_the_loss_is_over_the_known_labels():
    output = torch.tensor([[1.0, 2.0], [0.5, -1.0], [4.0, 3.0]], requires_grad=True)
    target = torch.tensor([[0.0, np.nan], [np.nan, np.nan], [0.0, 0.0]])
    weight_T = label_weights(~np.isnan(target.numpy()))
    loss = l1_loss(output, target, weight_T)
    assert loss.item() == pytest.approx((1 + 4) / 2 + 3 / 1)
    loss.backward()
    assert output.grad == pytest.approx(np.array([[0.5, 0], [0, 0], [0.5, 1]]))
    # Two processes with parts of the batch: the whole batch's weights make their losses add up.
    parts = [l1_loss(output[i], target[i], weight_T) * len(i) / 3 for i in ([0, 1], [2])]
    assert sum(parts).item() == pytest.approx(loss.item())


def test_without_a_missing_label_the_masked_loss_has_the_bits_of_the_plain_one():
    torch.manual_seed(0)
    output, target = torch.randn(37, 3, requires_grad=True), torch.randn(37, 3)
    plain, masked = (
        l1_loss(output, target),
        l1_loss(output, target, label_weights(np.ones((37, 3)))),
    )
    assert plain.item() == masked.item()
    gradients = [torch.autograd.grad(one, output)[0] for one in (plain, masked)]
    assert torch.equal(*gradients)


def without_some_labels(dataset: GraphDataset) -> GraphDataset:
    """The same graphs; every second crystal lacks the first target."""
    other = copy.copy(dataset)
    other.targets = dataset.targets.copy()
    other.targets[dataset.rows[::2], 0] = np.nan
    other.arrays = dataset.arrays | {"targets": other.targets}
    return other


def test_a_training_goes_on_without_some_labels(sets):
    partial = [without_some_labels(one) for one in sets]
    run = trainer(partial)
    labels = sets[0].targets[sets[0].rows][1::2, 0]
    assert (run.mean_T[0], run.std_T[0]) == pytest.approx((labels.mean(), labels.std()))
    whole = trainer(sets)
    assert run.mean_T[1] == pytest.approx(whole.mean_T[1])
    metrics = [run.epoch(epoch) for epoch in range(3)][-1]
    assert run.nonfinite == [] and np.isfinite(metrics["train_loss"])
    names = list(sets[0].manifest["targets"])
    assert metrics["val_labels"] == {names[0]: 1, names[1]: 3}
    output_GT = predict(run.result, sets[1], CPU) * run.std_T + run.mean_T
    error_GT = np.abs(output_GT - sets[1].targets[sets[1].rows])
    expected = {names[0]: error_GT[1, 0], names[1]: error_GT[:, 1].mean()}
    assert metrics["val_mae"] == pytest.approx(expected)


def test_a_target_without_any_label_is_refused(sets):
    empty = without_some_labels(sets[1])
    empty.targets[:, 1] = np.nan
    with pytest.raises(UserError, match="no validation crystal has a label"):
        trainer([sets[0], empty])


def test_targets_are_normalised_with_train_alone(sets):
    run = trainer(sets)
    train_set, val_set = sets
    labels = train_set.targets[train_set.rows]
    assert run.mean_T == pytest.approx(labels.mean(0))
    assert run.std_T == pytest.approx(np.sqrt(((labels - labels.mean(0)) ** 2).mean(0)))
    val_loss_T, _ = run.validate()
    expected_GT = (val_set.targets[val_set.rows] - labels.mean(0)) / labels.std(0)
    error_GT = np.abs(predict(run.result, val_set, CPU) - expected_GT)
    assert val_loss_T == pytest.approx(error_GT.mean(0))


def test_gradients_are_clipped(sets):
    run = trainer(sets, gradient_clip_norm=1e-3)
    run.train_step(next(iter(batches(sets[0], 4))), averaging=False)
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in run.network.parameters()))
    assert norm == pytest.approx(1e-3, rel=1e-4)


def test_a_step_is_that_of_the_plain_optimiser(sets):
    """The gradient by backward(), the step by torch's loop over parameters."""
    run, plain = trainer(sets), trainer(sets)
    groups = optimizers_for(plain.network, plain.training)[0].param_groups
    keys = ("params", "lr", "betas", "eps", "weight_decay")
    optimizer = torch.optim.AdamW([{key: group[key] for key in keys} for group in groups])
    batch = next(iter(batches(sets[0], 4)))
    for _ in range(3):
        loss = l1_loss(plain.network(batch), plain.normalised(batch))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.network.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 5e-4 * rate_factor(run.step, 0.0, run.training)
        optimizer.step()
        run.train_step(batch, averaging=False)
    for (name, one), other in zip(
        run.network.named_parameters(), plain.network.parameters(), strict=True
    ):
        if not name.endswith("key.bias"):  # its gradient is rounding alone
            assert torch.allclose(one, other, rtol=1e-4, atol=2e-6), name


def test_averaged_weights_are_the_mean_of_every_step(sets):
    run = trainer(sets, averaged_epochs=2, batch_size=2)
    run.epoch(0)
    seen = []
    step = run.train_step

    def recording_step(*args):
        loss = step(*args)
        seen.append({k: v.clone() for k, v in run.network.state_dict().items()})
        return loss

    run.train_step = recording_step
    run.epoch(1)
    run.epoch(2)
    assert len(seen) == 6
    for name, value in run.result.state_dict().items():
        assert torch.allclose(value, torch.stack([one[name] for one in seen]).mean(0), atol=1e-6)
    assert run.result is not run.network


def test_same_seed_same_bits_and_other_seed_other_model(sets, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        save_model(train_model(config(), *sets, seed, CPU), tmp_path / name)
    weights = {name: (tmp_path / name / "model.safetensors").read_bytes() for name in "abc"}
    assert weights["a"] == weights["b"] != weights["c"]


def test_a_saved_model_predicts_the_same_bits(sets, tmp_path):
    model = train_model(config(), *sets, 0, CPU)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.targets == model.targets and again.history == model.history
    predictions = [predict(one.network, sets[1], CPU) for one in (model, again)]
    assert (predictions[0] == predictions[1]).all()


def test_logged_validation_error_is_that_of_the_saved_model(sets, tmp_path):
    run = trainer(sets)
    TrainingRun(run, metrics_path=tmp_path / "metrics.jsonl").finish()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    model = train_model(config(), *sets, 0, CPU)
    output = torch.from_numpy(predict(model.network, sets[1], CPU))
    predicted_GT = model.denormalise(output, sets[1].compositions()).numpy()
    errors = np.abs(predicted_GT - sets[1].targets[sets[1].rows]).mean(0)
    assert model.history["last_epoch"]["val_mae"] == lines[-1]["val_mae"]
    assert list(lines[-1]["val_mae"].values()) == pytest.approx(errors)


def test_batch_size_does_not_change_predictions(sets):
    run = trainer(sets)
    alone, together = (predict(run.network, sets[0], CPU, size) for size in (1, 100))
    assert np.abs(alone - together).max() < 1e-6


def test_it_can_learn_a_few_crystals_by_heart(sets):
    run = trainer(
        sets, epochs=120, averaged_epochs=20, batch_size=6, learning_rate=1e-2, decay_steps=20
    )
    losses = [run.epoch(epoch)["train_loss"] for epoch in range(120)]
    targets = (sets[0].targets[sets[0].rows] - run.mean_T) / run.std_T
    assert losses[0] > 0.5
    assert np.abs(predict(run.result, sets[0], CPU) - targets).mean() < 0.02


def test_constant_target_is_refused(sets):
    train_set, val_set = sets
    train_set.targets = np.ones_like(train_set.targets)
    with pytest.raises(UserError, match="same value"):
        prepare(config(), train_set, val_set, 0, CPU)


def test_bfloat16_is_for_linear_layers_and_changes_little(sets):
    """The same run in both precisions: close, not equal, weights float32 in both."""
    one, other = (trainer(sets, precision=which) for which in ("float32", "bfloat16"))
    first, second = ([run.epoch(epoch)["train_loss"] for epoch in range(2)] for run in (one, other))
    assert first != second and first == pytest.approx(second, rel=0.02)
    assert {value.dtype for value in other.network.state_dict().values()} == {torch.float32}
    half = predict(other.network, sets[1], CPU)  # predictions are made in float32
    assert half.dtype == np.float64 and np.abs(half - half.astype(np.float32)).max() == 0
    assert np.abs(half.astype(np.float32) - torch.tensor(half).bfloat16().double().numpy()).max()


def test_tensorboard_has_every_epoch_once_after_a_resumption(sets, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def stop_after(epochs):
        def stop(metrics):
            if metrics["epoch"] == epochs:
                raise KeyboardInterrupt

        return stop

    checkpoints = open_checkpoints(tmp_path, {})
    with pytest.raises(KeyboardInterrupt):
        TrainingRun(trainer(sets, tensorboard=True), checkpoints).finish(stop_after(2))
    for newest in checkpoints.all()[1:]:
        shutil.rmtree(newest)  # it continues from the end of the first epoch
    again = trainer(sets, tensorboard=True)
    TrainingRun(again, checkpoints, metrics_path=tmp_path / "metrics.jsonl").finish()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(checkpoints.folder / "tensorboard")).Reload()
    for name in ("train_loss", "val_loss", "learning_rate"):
        seen = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in seen] == [1, 2, 3]
        assert [value for _, value in seen] == pytest.approx([line[name] for line in lines])


def test_without_the_package_tensorboard_is_one_message(sets, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        TrainingRun(trainer(sets, tensorboard=True), open_checkpoints(tmp_path, {})).finish()


def test_the_line_inside_an_epoch_has_rate_loss_and_time_left(sets, monkeypatch, caplog):
    monkeypatch.setattr("dglframer.training.metrics.SECONDS_BETWEEN_LINES", -1.0)
    with caplog.at_level("INFO"):
        train_model(config(epochs=1, averaged_epochs=0), *sets, 0, CPU)
    inside = [line for line in caplog.messages if " % " in line]
    assert len(inside) == 2 and "67 %" in inside[0] and "100 %" in inside[1]
    pattern = r"seed 0 epoch 1/1 .* train loss \d\.\d{4}  \d+ crystals/s  \d+ s left"
    assert all(re.fullmatch(pattern, line) for line in inside)
