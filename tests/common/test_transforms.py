"""Transforms of labels: values by hand, and both ways."""

import numpy as np
import pytest
import torch

from dglframer.common.transforms import TRANSFORMS, apply, undo


def test_log10_has_the_values_of_a_table():
    labels = np.array([0.001, 1.0, 100.0, np.nan])
    assert apply("log10", labels)[:3] == pytest.approx([-3, 0, 2])
    assert np.isnan(apply("log10", labels)[3])
    assert undo("log10", np.array([-3.0, 0.0, 2.0])) == pytest.approx([0.001, 1.0, 100.0])
    assert torch.equal(
        undo("log10", torch.tensor([0.0, 2.0], dtype=torch.float64)),
        torch.tensor([1.0, 100.0], dtype=torch.float64),
    )


@pytest.mark.parametrize("label", [0.0, -3.2])
def test_log10_of_no_positive_number_is_unknown(label):
    assert np.isnan(apply("log10", np.array([label])))
    assert not TRANSFORMS["log10"].defined(np.array(label))


def test_no_transform_changes_nothing():
    labels = np.array([-1.0, np.nan, 3.0])
    assert apply(None, labels) is labels and undo(None, labels) is labels


@pytest.mark.parametrize("name", TRANSFORMS)
def test_undo_is_the_inverse_and_both_rise(name):
    labels = np.geomspace(1e-6, 1e6, 50)
    learned = apply(name, labels)
    assert (np.diff(learned) > 0).all()
    assert undo(name, learned) == pytest.approx(labels)
