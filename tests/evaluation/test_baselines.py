"""The features of the strong baseline, value by value, and what it learns from them."""

import numpy as np
import pytest
from helpers.crystals import crystal

from dglframer.common.element_properties import PROPERTIES
from dglframer.evaluation.baselines import baseline_errors
from dglframer.evaluation.boosting import boosting_prediction
from dglframer.evaluation.crystal_features import STATISTICS, crystal_features
from dglframer.evaluation.errors import summary

NAMES = [f"{statistic} {name}" for name in PROPERTIES for statistic in STATISTICS]
NAMES += ["elements", "atoms", "volume", "filled"]


def described(*crystals) -> list[dict[str, float]]:
    """The features beside the fractions, by name."""
    lattices = [np.zeros((3, 3)) if c.lattice_33 is None else c.lattice_33 for c in crystals]
    features = crystal_features([c.numbers_N for c in crystals], np.array(lattices))
    return [dict(zip(NAMES, row[98:], strict=True)) for row in features]


@pytest.mark.parametrize(
    ("symbol", "period", "group", "valence"),
    [
        ("H", 1, 1, (1, 0, 0, 0)),
        ("He", 1, 18, (2, 0, 0, 0)),
        ("O", 2, 16, (2, 4, 0, 0)),
        ("Fe", 4, 8, (2, 0, 6, 0)),
        ("Br", 4, 17, (2, 5, 10, 0)),
        ("La", 6, 3, (2, 0, 0, 1)),
        ("Gd", 6, 3, (2, 0, 0, 8)),
        ("Lu", 6, 3, (2, 0, 1, 14)),
        ("Hf", 6, 4, (2, 0, 2, 14)),
        ("Pb", 6, 14, (2, 2, 10, 14)),
        ("U", 7, 3, (2, 0, 0, 4)),
    ],
)
def test_the_place_of_an_element_in_the_periodic_table(symbol, period, group, valence):
    [one] = described(crystal("x", symbol, 3 * np.eye(3), [[0, 0, 0]]))
    assert (one["min period"], one["max group"]) == (period, group)
    assert tuple(one[f"mean {shell} electrons"] for shell in "spdf") == valence


def test_statistics_are_over_the_atoms():
    cell = crystal(
        "rutile-like", "Ti O O", 4 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5]]
    )
    [one] = described(cell)
    assert one["mean electronegativity"] == pytest.approx((1.54 + 2 * 3.44) / 3)
    assert one["deviation electronegativity"] == pytest.approx(np.std([1.54, 3.44, 3.44]))
    assert (one["min electronegativity"], one["max electronegativity"]) == (1.54, 3.44)
    assert (one["elements"], one["atoms"]) == (2, 3)
    assert one["volume"] == pytest.approx(64 / 3)
    spheres = 4 / 3 * np.pi * (1.60**3 + 2 * 0.66**3)
    assert one["filled"] == pytest.approx(spheres / 64)


def test_a_molecule_has_no_volume():
    [one] = described(crystal("x", "H H", np.eye(3), [[0, 0, 0], [0, 0, 0.7]]))
    assert one["volume"] == 0.5
    features = crystal_features([np.array([1, 1])], np.zeros((1, 3, 3)))
    assert np.isnan(features[0, -2:]).all() and np.isfinite(features[0, :-2]).all()


def features_and_parts(n: int, molecules: bool = False):
    rng = np.random.default_rng(0)
    numbers = [rng.integers(1, 30, size=rng.integers(1, 6)) for _ in range(n)]
    lattice_G33 = np.eye(3) * rng.uniform(2.5, 6, size=(n, 1, 1)) * (not molecules)
    place = np.arange(n) % 10
    parts = {"train": place < 7, "val": place == 7, "test": place > 7}
    return crystal_features(numbers, lattice_G33), parts


def test_boosting_learns_what_no_linear_model_of_the_composition_can():
    features_GF, parts = features_and_parts(1500)
    volume_G = features_GF[:, -2]
    target_G = np.where(volume_G > np.median(volume_G), 1.0, -1.0) + features_GF[:, 7]
    errors = baseline_errors(features_GF, target_G, None, parts)
    assert errors["boosting_baseline"]["test_mae"] < 0.15
    assert errors["composition_baseline"]["test_mae"] > 0.8
    assert errors["median_baseline"]["test_mae"] > 0.8
    assert {one["test_crystals"] for one in errors.values()} == {int(parts["test"].sum())}
    assert "learning_rate 0.1," in errors["boosting_baseline"]["what"]


def test_boosting_is_the_same_again_and_blind_to_the_test_labels():
    features_GF, parts = features_and_parts(400)
    target_G = features_GF[:, 98] + features_GF[:, -2]
    first = boosting_prediction(features_GF, target_G, parts["train"], parts["val"])
    hidden_G = np.where(parts["test"], 99.0, target_G)
    again = boosting_prediction(features_GF, hidden_G, parts["train"], parts["val"])
    assert np.array_equal(first, again)


def test_baselines_learn_the_logarithm_and_err_in_the_unit():
    features_GF, parts = features_and_parts(800)
    target_G = 10 ** (features_GF[:, 98] / 10)  # of the mean atomic number
    learned = baseline_errors(features_GF, target_G, "log10", parts)
    plain = baseline_errors(features_GF, target_G, None, parts)
    assert learned["composition_baseline"]["test_mae"] < plain["composition_baseline"]["test_mae"]
    spread = np.abs(target_G - np.median(target_G[parts["train"]]))[parts["test"]].mean()
    for one in (learned, plain):
        assert one["median_baseline"]["test_mae"] == pytest.approx(spread)
    assert learned["boosting_baseline"]["test_mae"] < 0.2 * spread


@pytest.mark.parametrize(("n", "molecules"), [(10, False), (40, True)])
def test_few_rows_and_molecules_are_no_problem(n, molecules):
    features_GF, parts = features_and_parts(n, molecules)
    errors = baseline_errors(features_GF, features_GF[:, 98], None, parts)
    assert all(np.isfinite(one["test_mae"]) for one in errors.values())


@pytest.mark.parametrize(("mae", "beaten"), [(0.1, True), (0.3, False)])
def test_the_line_for_a_person_says_if_boosting_is_not_beaten(mae, beaten):
    metrics = {"unit": "eV", "splits": {"test": {"mae": mae}}}
    metrics |= {"boosting_baseline": {"test_mae": 0.2}, "median_baseline": {"test_mae": 1.0}}
    line = f"gap: test MAE {mae:.4f} eV, gradient boosting 0.2000, training median 1.0000"
    note = "" if beaten else " (the network does not beat gradient boosting)"
    assert summary("gap", metrics) == line + note
