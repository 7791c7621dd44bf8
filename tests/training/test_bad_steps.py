"""Steps that cannot be taken: losses and gradients that are not finite, batches too large for the memory."""

from dataclasses import replace

import pytest
import torch
from helpers.trainers import train_and_val, trainer

from dglframer.common.errors import UserError
from dglframer.graphs.loading import batches
from dglframer.training.optimiser import is_out_of_memory
from dglframer.training.schedule import averaged_over_steps
from dglframer.training.snapshot import snapshot_of
from dglframer.training.trainer import Trainer


@pytest.fixture
def sets(tiny_run):
    return train_and_val(tiny_run)


def test_a_loss_that_is_not_finite_names_the_batch(sets):
    run = trainer(sets, stop_after_nonfinite=1)
    with torch.no_grad():
        run.network.embedding.weight.fill_(float("nan"))
    run.train_step(next(iter(batches(sets[0], 4))), averaging=False)
    with pytest.raises(UserError, match=sets[0].ids[0]):
        run.read_flags()


def weights_of(run: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.network.state_dict().items()}


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(sets):
    """The third such step stops the run; each is recorded with the ids of its crystals."""
    run = trainer(sets)
    written = []
    run.write_nonfinite = lambda steps: written.append(len(steps))
    good, *_ = batches(sets[0], 4)
    bad = replace(good, targets_BT=good.targets_BT * float("nan"))
    run.train_step(good, averaging=False)
    before = weights_of(run), snapshot_of(run).tensors
    run.train_step(bad, averaging=False)
    after = weights_of(run), snapshot_of(run).tensors
    for one, other in zip(before, after, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    run.train_step(good, averaging=False)
    assert not torch.equal(weights_of(run)["head.output.weight"], after[0]["head.output.weight"])
    run.read_flags()
    run.train_step(bad, averaging=False)
    run.train_step(bad, averaging=False)
    with pytest.raises(UserError, match="3 steps"):
        run.read_flags()
    assert [one["step"] for one in run.nonfinite] == [1, 3, 4] and written == [1, 3]
    assert run.nonfinite[0]["ids"] == list(good.ids)


@pytest.mark.parametrize("more", [{}, {"averaged_epochs": 0, "average_decay": 0.9}], ids=str)
def test_a_step_that_is_left_out_is_not_averaged(sets, more):
    """The average is that of the weights after the steps that were taken."""
    run, expected = trainer(sets, **more), trainer(sets, **more)
    good, *_ = batches(sets[0], 4)
    bad = replace(good, targets_BT=good.targets_BT * float("nan"))
    for one, kinds in ((run, (good, bad, good, bad)), (expected, (good, good))):
        if one.averaged is None:
            one.averaged = averaged_over_steps(one.network)
        for batch in kinds:
            one.train_step(batch, averaging=True)
    theirs = expected.averaged.state_dict()
    assert int(theirs["n_averaged"]) == 2
    for name, value in run.averaged.state_dict().items():
        assert torch.equal(value, theirs[name]), name
    assert not torch.equal(
        theirs["module.head.output.weight"], weights_of(run)["head.output.weight"]
    )


def test_a_gradient_that_is_not_finite_counts_as_well(sets, monkeypatch):
    run = trainer(sets)
    original = run.gradients

    def infinite(*arguments):
        loss, first, *others = original(*arguments)
        return [loss, first * float("inf"), *others]

    monkeypatch.setattr(run, "gradients", infinite)
    loss = run.train_step(next(iter(batches(sets[0], 4))), averaging=False)
    run.read_flags()
    assert torch.isfinite(loss) and len(run.nonfinite) == 1


def out_of_memory_above(run: Trainer, max_crystals: int) -> None:
    """Let the network fail as if more crystals than ``max_crystals`` did not fit into the memory."""
    forward = run.network.forward

    def limited(batch):
        if run.network.training and len(batch.ids) > max_crystals:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(batch)

    run.network.forward = limited


@pytest.mark.parametrize("max_crystals", [1, 3])
def test_a_batch_too_large_for_the_memory_is_split_and_gives_the_same_step(sets, max_crystals):
    whole, split = trainer(sets, batch_size=6), trainer(sets, batch_size=6)
    out_of_memory_above(split, max_crystals)
    batch = next(iter(batches(sets[0], 6)))
    losses = [float(run.train_step(batch, averaging=False)) for run in (whole, split)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for one, other in zip(whole.network.parameters(), split.network.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-4, atol=1e-7)
    metrics = split.epoch(0)
    assert metrics["split_batches"] == (5 if max_crystals == 1 else 1)
    assert metrics["train_loss"] == pytest.approx(train_loss_of(whole), rel=1e-3)


def train_loss_of(run: Trainer) -> float:
    return run.epoch(0)["train_loss"]


def test_one_crystal_too_large_for_the_memory_is_named(sets):
    run = trainer(sets)
    out_of_memory_above(run, 0)
    with pytest.raises(UserError, match=f"{sets[0].ids[0]} alone does not fit"):
        run.train_step(next(iter(batches(sets[0], 1))), averaging=False)


def test_other_errors_are_not_taken_for_want_of_memory(sets):
    run = trainer(sets)
    run.network.forward = lambda batch: torch.zeros(2) @ torch.zeros(3)
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        run.train_step(next(iter(batches(sets[0], 2))), averaging=False)


def test_torch_runs_out_of_memory_as_expected():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
