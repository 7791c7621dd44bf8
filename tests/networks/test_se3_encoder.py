"""The SE(3)-Transformer and TFN: equal to the published ones, equivariant, finite everywhere."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.edges import check_alike
from helpers.paths import SHARED, needs_shared
from helpers.published_se3 import SETTINGS, Stored, nbody_encoder
from helpers.rotations import rotation, turned, wigner

from dglframer.config.networks import Se3TransformerConfig, TfnConfig
from dglframer.graphs.batch import batch_graphs, pointers
from dglframer.networks.se3_transformer import layers
from dglframer.networks.se3_transformer.edges import Edges, edges_alike, edges_within
from dglframer.networks.se3_transformer.encoder import SE3Encoder
from dglframer.networks.se3_transformer.layers import Features
from dglframer.structures.crystal import Crystal
from dglframer.structures.periodic_graph import build_graph

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


@needs_shared
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_stored_outputs_of_the_published_network(name, dtype):
    stored = Stored(SHARED / "oracle" / "se3", name)
    expected = stored.arrays["output"]
    with torch.no_grad():
        difference = stored.output(dtype) - expected
    assert difference.norm() < 2e-6 * expected.norm()


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


README: dict[str, Any] = {
    "degrees": 4,
    "self_interaction": "linear",
    "relative_position": "add",
}


@pytest.mark.parametrize(
    ("changed", "parameters"),
    [
        ({}, 293_920),
        ({"relative_position": "concatenate"}, 299_134),
        ({"self_interaction": "attentive"}, 392_770),
        ({"layers": 7}, 557_440),
        ({"degrees": 3}, 153_418),
        ({"degrees": 2}, 66_292),
        ({"channels": 4, "value_divisor": 1, "heads": 1}, 287_144),
    ],
)
def test_parameters_of_the_published_nbody_networks(changed, parameters):
    assert count(nbody_encoder(**{**README, **changed})) == parameters


@pytest.mark.parametrize(("channels", "parameters"), [(8, 252_020), (4, 107_516)])
def test_parameters_of_the_published_nbody_tfn(channels, parameters):
    config = TfnConfig(degrees=4, channels=channels, layers=3)
    assert count(SE3Encoder(config, {0: 1, 1: 1}, {1: 2}, 1, "nbody")) == parameters


def test_parameters_of_the_published_molecular_networks():
    def head(width: int) -> int:
        return width * width + width + width + 1

    published = Se3TransformerConfig(degrees=4, channels=32, layers=7, heads=8)
    assert count(SE3Encoder(published, {0: 6}, {0: 128}, 4)) + head(128) == 9_828_193
    tfn = TfnConfig(degrees=4, channels=16, layers=6)
    assert count(SE3Encoder(tfn, {0: 6}, {0: 64}, 4)) + head(64) == 2_138_721


ENCODERS = {
    "attention": lambda: SE3Encoder(
        Se3TransformerConfig(degrees=3, channels=8, layers=2, heads=2), {0: 3}, {0: 4, 1: 2, 2: 1}
    ),
    "natural parity": lambda: SE3Encoder(
        Se3TransformerConfig(degrees=3, channels=8, layers=2, heads=2, parity="o3"),
        {0: 3},
        {0: 4, 1: 2, 2: 1},
    ),
    "attentive mixing, relative position": lambda: SE3Encoder(
        Se3TransformerConfig(
            degrees=3,
            channels=8,
            layers=2,
            heads=2,
            self_interaction="attentive",
            relative_position="concatenate",
        ),
        {0: 3, 1: 1},
        {0: 2, 1: 2, 2: 2},
        0,
        "nbody",
    ),
    "relative position added": lambda: SE3Encoder(
        Se3TransformerConfig(channels=8, layers=2, heads=2, relative_position="add"),
        {0: 3, 1: 2},
        {1: 2},
        0,
        "nbody",
    ),
    "convolution": lambda: SE3Encoder(
        TfnConfig(degrees=3, channels=8, layers=2), {0: 3, 1: 1}, {0: 2, 1: 2, 2: 1}
    ),
    "convolution, mixed messages": lambda: SE3Encoder(
        TfnConfig(degrees=3, channels=8, layers=2), {0: 3, 1: 1}, {0: 2, 1: 2}, 0, "nbody"
    ),
}


@pytest.fixture(params=ENCODERS)
def encoder(request) -> SE3Encoder:
    torch.manual_seed(0)
    return ENCODERS[request.param]().double()


def cloud(encoder: SE3Encoder, n: int = 7, enveloped: bool = True) -> tuple[Features, Edges]:
    """n nodes at random, all pairs edges."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x_N3 = normal(n, 3)
    features = {l: normal(n, c, 2 * l + 1) for l, c in encoder.fiber_in.items()}
    return features, edges_of(x_N3, enveloped)


def edges_of(x_N3: torch.Tensor, enveloped: bool = True) -> Edges:
    """All pairs of nodes, an edge and its reverse in a row."""
    n = len(x_N3)
    pairs = [(j, i) for i in range(n) for j in range(n) if i != j]
    src_E, dst_E = torch.tensor(pairs).T
    d_E3 = x_N3[dst_E] - x_N3[src_E]
    envelope_E = torch.exp(-d_E3.norm(dim=-1)) if enveloped else None
    ptr = torch.arange(n + 1) * (n - 1)
    scalars_ES = d_E3.new_empty(len(pairs), 0)
    alike_PD = edges_alike(d_E3.norm(dim=-1))
    assert alike_PD.shape[1] > 1
    return Edges(src_E, dst_E, ptr, d_E3, scalars_ES, envelope_E, alike_PD)


def error(got: Features, expected: Features) -> float:
    return max(float((got[l] - expected[l]).norm() / expected[l].norm()) for l in expected)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_features_turn_with_the_nodes(encoder, dtype):
    features, edges = cloud(encoder)
    R = rotation()
    with torch.no_grad():
        expected = turned(encoder(features, edges), R)
        turned_edges = replace(
            edges,
            d_E3=(edges.d_E3 @ R.T).to(dtype),
            envelope_E=edges.envelope_E.to(dtype),
            scalars_ES=edges.scalars_ES.to(dtype),
        )
        inputs = {l: x.to(dtype) for l, x in turned(features, R).items()}
        got = encoder.to(dtype)(inputs, turned_edges)
    assert error(got, expected) < TOLERANCE[dtype]
    for l in expected:
        if l > 0:  # a rotation that does nothing would prove nothing
            unturned = {l: expected[l] @ wigner(l, R)}
            assert error(unturned, {l: expected[l]}) > 0.1


def test_edges_of_equal_length_may_be_computed_together(encoder):
    features, edges = cloud(encoder)
    apart = encoder(features, replace(edges, alike_PD=None))
    gradients = torch.autograd.grad(
        sum(x.square().sum() for x in apart.values()), encoder.layers[0].parameters()
    )
    together = encoder(features, edges)
    with torch.no_grad():
        assert error(together, apart) < 1e-12
    again = torch.autograd.grad(
        sum(x.square().sum() for x in together.values()), encoder.layers[0].parameters()
    )
    for got, expected in zip(again, gradients, strict=True):
        assert (got - expected).norm() <= 1e-11 * expected.norm()


def test_rows_of_equally_long_edges():
    """Rows of 1, 2, 4, 8 would cost 4 x 7, 3 x 8, 2 x 10, 2 x 14 edges."""
    rows = edges_alike(torch.tensor([2.0, 1.0, 2.0, 2.0 + 1e-7]))
    assert rows.tolist() == [[1, 1, 1, 1], [0, 2, 3, 0]]
    apart = edges_alike(torch.tensor([2.0, 1.0, 3.0, 2.0 + 1e-5]))
    assert apart.tolist() == [[1], [0], [3], [2]]
    assert edges_alike(torch.empty(0)).numel() == 0


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_equally_long_edges_of_a_crystal_are_in_rows(dtype):
    """Caesium chloride has 58 neighbours at 5 distances: a times sqrt of 3/4, 1, 2, 11/4 and 3."""
    frac = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    crystal = Crystal("CsCl", np.array([55, 17], np.int16), 4.1 * np.eye(3), frac, {})
    edges = edges_within(batch_graphs([build_graph(crystal, 8.0)], dtype), 7.5)
    check_alike(edges)
    assert len(edges.src_E) == 116
    assert len(edges.radial_inputs_PI.round(decimals=4).unique()) == 5
    assert len(edges.radial_inputs_PI) < 116 / 4


def test_order_of_nodes_does_not_matter(encoder):
    features, _ = cloud(encoder)
    generator = torch.Generator().manual_seed(1)
    x_N3 = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    order = torch.tensor([3, 0, 6, 5, 1, 2, 4])
    with torch.no_grad():
        before = encoder(features, edges_of(x_N3))
        after = encoder({l: x[order] for l, x in features.items()}, edges_of(x_N3[order]))
    assert error(after, {l: x[order] for l, x in before.items()}) < 1e-12


def test_a_node_without_edges_has_finite_features(encoder):
    features, edges = cloud(encoder)
    kept = edges.dst_E != 2
    counts = torch.bincount(edges.dst_E[kept], minlength=7)
    fewer = Edges(
        edges.src_E[kept],
        edges.dst_E[kept],
        pointers(counts),
        edges.d_E3[kept],
        edges.scalars_ES[kept],
    )
    got = encoder(features, fewer)
    assert all(x.isfinite().all() for x in got.values())
    sum(x.square().sum() for x in got.values()).backward()
    gradients = [p.grad for p in encoder.parameters() if p.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)


def test_edges_along_the_axes_have_finite_gradients(encoder):
    features, _ = cloud(encoder)
    lattice = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, -1, 0], [0, 0, -1]]
    x_N3 = torch.tensor(lattice, dtype=torch.float64, requires_grad=True)
    got = encoder(features, edges_of(x_N3, enveloped=False))
    [gradient] = torch.autograd.grad(sum(x.square().sum() for x in got.values()), x_N3)
    assert gradient.isfinite().all() and gradient.abs().max() > 1e-6


def test_a_broken_network_is_caught(monkeypatch):
    """What test_features_turn_with_the_nodes measures is large where a kernel is wrong."""
    torch.manual_seed(0)
    encoder = ENCODERS["attention"]().double()

    class Wrong(layers.LinearByDegree):
        def forward(self, features: Features) -> Features:
            mixed = super().forward(features)
            return {l: x + 0.01 * (l == 1) for l, x in mixed.items()}  # a preferred direction

    mutant = copy.deepcopy(encoder)
    for layer in mutant.layers[:-1]:
        layer.output.__class__ = Wrong
    features, edges = cloud(encoder)
    R = rotation()
    turned_edges = replace(edges, d_E3=edges.d_E3 @ R.T)
    with torch.no_grad():
        errors = [
            error(one(turned(features, R), turned_edges), turned(one(features, edges), R))
            for one in (encoder, mutant)
        ]
    assert errors[0] < 1e-12 and errors[1] > 1e-4


def test_mirror_images_differ_only_without_natural_parity():
    """Degree-1 outputs of natural parity change their sign under inversion, degrees 0 and 2 do not."""
    generator = torch.Generator().manual_seed(1)
    x_N3 = torch.randn(7, 3, generator=generator, dtype=torch.float64)

    def broken(name: str) -> float:
        torch.manual_seed(0)
        encoder = ENCODERS[name]().double()
        features, _ = cloud(encoder)
        inverted = {l: x * (-1) ** l for l, x in features.items()}
        with torch.no_grad():
            before = encoder(features, edges_of(x_N3))
            after = encoder(inverted, edges_of(-x_N3))
        return error(after, {l: x * (-1) ** l for l, x in before.items()})

    assert broken("natural parity") < 1e-12
    assert broken("attention") > 1e-4
