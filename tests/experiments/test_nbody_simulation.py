"""Simulated particles: the law of motion, what the two force caps do to rotations, and the files."""

import numpy as np
import pytest

from dglframer.common.errors import DamagedFile
from dglframer.common.files import sha256
from dglframer.experiments.data_set import PARTS
from dglframer.experiments.nbody.bounds import (
    constant_velocity_errors,
    label_variances,
    measure_bounds,
)
from dglframer.experiments.nbody.simulation import (
    FORCE_CAP,
    FRAMES,
    TIME_STEP,
    advanced,
    cap_of,
    continued,
    evolved,
    initial_states,
    read_data_set,
    simulate,
    write_data_set,
)
from dglframer.experiments.rotations import random_rotations

CAPS = ("component", "norm", "none")


def by_loops(positions, velocities, charges, cap, steps):
    """One system, in the plainest way."""
    x, v = positions.copy(), velocities.copy()
    for _ in range(steps):
        force = np.zeros((5, 3))
        for i in range(5):
            for j in range(5):
                if i != j:
                    r = x[i] - x[j]
                    force[i] += charges[i] * charges[j] * r / np.linalg.norm(r) ** 3
            if cap == "component":
                force[i] = [max(-FORCE_CAP, min(FORCE_CAP, one)) for one in force[i]]
            if cap == "norm" and np.linalg.norm(force[i]) > FORCE_CAP:
                force[i] *= FORCE_CAP / np.linalg.norm(force[i])
        v += TIME_STEP * force
        x += TIME_STEP * v
    return x, v


def close_pair():
    """A state in which an opposite pair is within the reach of the cap."""
    x, v, charges = initial_states(1, 3, "train")
    charges[0, :2] = 1, -1
    x[0, 1] = x[0, 0] + np.array([0.03, 0.02, -0.01])
    return x, v, charges


@pytest.mark.parametrize("cap", CAPS)
@pytest.mark.parametrize("count", [1, 2])
def test_a_state_is_left_as_it_was(cap, count):
    state = initial_states(count, 0, "train")
    before = [of.copy() for of in state]
    advanced(*state, cap, 3)
    assert all(np.array_equal(a, b) for a, b in zip(state, before, strict=True))


@pytest.mark.parametrize("cap", CAPS)
def test_it_is_what_plain_loops_give(cap):
    for state in (initial_states(2, 0, "train"), close_pair()):
        x, v = advanced(*state, cap, 20)
        for row in range(len(x)):
            expected = by_loops(*(of[row] for of in state), cap, 20)
            assert np.abs(x[row] - expected[0]).max() < 1e-10
            assert np.abs(v[row] - expected[1]).max() < 1e-8


def test_the_caps_differ_only_where_a_force_is_large():
    far = [of[:1].copy() for of in initial_states(1, 0, "train")]
    far[0] *= 3
    results = [advanced(*far, cap, 50)[0] for cap in CAPS]
    assert np.array_equal(results[0], results[2]) and np.array_equal(results[1], results[2])
    results = [advanced(*close_pair(), cap, 5)[0] for cap in CAPS]
    assert len({one.tobytes() for one in results}) == 3


def energy(x, v, charges):
    first, second = np.triu_indices(5, 1)
    r = np.linalg.norm(x[:, first] - x[:, second], axis=2)
    return 0.5 * (v**2).sum((1, 2)) + (charges[:, first] * charges[:, second] / r).sum(1)


def test_momentum_and_without_cap_energy_are_conserved():
    x, v, charges = initial_states(50, 1, "test")
    charges[:] = 1.0  # they repel: no close encounters, which a fixed time step cannot follow
    far = np.abs(energy(x, v, charges)) < 20
    x2, v2 = evolved(x, v, charges, "none", 1000)
    assert np.abs(v2.sum(1) - v.sum(1)).max() < 1e-10
    change = (energy(x2, v2, charges) - energy(x, v, charges))[far]
    assert far.sum() > 40 and np.abs(change).max() < 0.02
    centre = x.mean(1) + v.mean(1)  # after 1 unit of time
    assert np.abs(x2.mean(1) - centre).max() < 1e-10


@pytest.mark.parametrize(("cap", "equivariant"), [("norm", True), ("component", False)])
def test_only_the_norm_cap_turns_with_the_system(cap, equivariant):
    x, v, charges = close_pair()
    rotation = random_rotations(1, 0)[0]
    after, _ = advanced(x, v, charges, cap, 10)
    after_turned, _ = advanced(x @ rotation.T, v @ rotation.T, charges, cap, 10)
    difference = np.abs(after_turned - after @ rotation.T).max()
    assert difference < 1e-12 if equivariant else difference > 1e-3


def test_initial_states_are_those_of_the_public_simulator():
    x, v, charges = initial_states(4000, 0, "train")
    assert np.abs(x.mean()) < 0.01 and x.std() == pytest.approx(1, abs=0.01)
    assert np.linalg.norm(v, axis=2) == pytest.approx(0.5)
    assert np.abs(v.mean((0, 1))).max() < 0.01
    assert set(np.unique(charges)) == {-1, 1} and abs(charges.mean()) < 0.03


def test_frames_are_a_tenth_of_a_unit_apart_and_go_on_from_each_other():
    one = simulate(3, 0, "val", "norm")
    assert one.positions.shape == (3, FRAMES + 1, 5, 3)
    x, v = evolved(*initial_states(3, 0, "val"), "norm", 100)
    assert np.array_equal(one.positions[:, 0], x) and np.array_equal(one.velocities[:, 0], v)
    again = continued(one.positions[:, 4], one.velocities[:, 4], one.charges, "norm", 6)
    assert np.array_equal(again.positions, one.positions[:, 4:])


def test_parts_and_seeds_differ_and_the_caps_share_their_initial_states():
    states = [initial_states(2, seed, part)[0] for seed in (0, 1) for part in PARTS]
    assert len({one.tobytes() for one in states}) == 6
    more = initial_states(3, 0, "train")[2]
    assert np.array_equal(more, simulate(3, 0, "train", "component").charges)


def test_constant_velocity_has_the_published_error():
    """The calibration: 0.0710 ± 0.0014 and 0.253 ± 0.004 were measured with the public simulator."""
    errors = constant_velocity_errors(simulate(3000, 5, "test", "component"))[-1]
    own = errors.std(axis=0) / len(errors) ** 0.5
    allowed = 3 * np.hypot(own, (0.0014, 0.004))
    assert (np.abs(errors.mean(axis=0) - (0.0710, 0.253)) < allowed).all()
    assert (own < (0.004, 0.009)).all()


def test_labels_vary_with_the_axes_under_the_component_cap_alone():
    variances = {}
    for cap in ("component", "norm"):
        part = simulate(150, 2, "test", cap)
        variances[cap] = label_variances(part, cap, 3, seed=0)
        assert variances[cap].shape == (FRAMES, 150, 2)
    changed = variances["component"][-1, :, 0] > 1e-6
    assert 0.1 < changed.mean() < 0.5
    assert 0.001 < variances["component"][-1, :, 0].mean() < 0.02
    assert variances["norm"].mean() < 1e-6


def test_bounds_name_every_horizon():
    parts = {"test": simulate(20, 0, "test", "norm")}
    bounds = measure_bounds(parts, "norm", rotations=2, calibration=30, seed=0)
    assert bounds["frames"] == list(range(1, 11))
    assert all(len(bounds["linear"][key]) == 10 for key in ("mse_x", "mse_v", "mse_x_error"))
    assert bounds["linear"]["mse_x"] == sorted(bounds["linear"]["mse_x"])
    assert bounds["calibration"]["simulations"] == 30


def test_a_data_set_is_read_as_it_was_written_and_has_the_same_bytes_twice(tmp_path):
    for name in ("a", "b"):
        parts = {part: simulate(4, 1, part, "component", frames=2) for part in PARTS}
        write_data_set(tmp_path / name, parts, "component", seed=1)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")
    read = read_data_set(tmp_path / "a")
    assert cap_of(tmp_path / "a") == "component"
    for part in PARTS:
        assert np.array_equal(read[part].velocities, parts[part].velocities)


@pytest.mark.parametrize("content", [None, b"", b"garbage" * 9])
def test_a_damaged_data_set_is_named(tmp_path, content):
    path = tmp_path / "nbody-data"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DamagedFile, match="nbody-data"):
        read_data_set(path)
