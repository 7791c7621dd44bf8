"""The models of the comparison: (positions, velocities [B, 5, 3], charges [B, 5]) -> [B, 5, 2, 3].

The output is (Δx, Δv). DeepSet and Set Transformer see positions relative to their mean, velocities and
charges as plain numbers; the others are equivariant. A permutation of the particles permutes the output.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dglframer.config.networks import Se3TransformerConfig, TfnConfig
from dglframer.experiments.nbody.simulation import FRAME_TIME, PARTICLES
from dglframer.experiments.sets import DeepSet, SetTransformer
from dglframer.networks.se3_transformer.edges import Edges
from dglframer.networks.se3_transformer.encoder import SE3Encoder

# The 20 directed pairs, ordered by receiver: a sum over senders is a sum over a row of four.
RECEIVERS = [i for i in range(PARTICLES) for _ in range(PARTICLES - 1)]
SENDERS = [j for i in range(PARTICLES) for j in range(PARTICLES) if j != i]
PAIRS = list(zip(RECEIVERS, SENDERS, strict=True))
TWINS = [(edge, PAIRS.index((j, i))) for edge, (i, j) in enumerate(PAIRS) if i < j]


def build(name: str, degrees: int, seed: int) -> nn.Module:
    """A model with weights drawn from ``seed``; ``degrees`` is for TFN and SE(3)-Transformer.

    The global random generators keep their state.
    """
    makers: dict[str, Callable[[], nn.Module]] = {
        "deepset": lambda: Plain(DeepSet(7, 6)),
        "tfn": lambda: TFN(degrees),
        "set_transformer": lambda: Plain(SetTransformer(7, 6)),
        "se3_transformer": lambda: SE3Transformer(degrees),
        "egnn": EGNN,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return makers[name]()


class Linear(nn.Module):
    """Constant velocity for ``frames``: Δx = v·Δt, Δv = 0. It has no parameters."""

    def __init__(self, frames: int):
        super().__init__()
        self.time = frames * FRAME_TIME

    def forward(self, positions: Tensor, velocities: Tensor, charges: Tensor) -> Tensor:
        return torch.stack([velocities * self.time, torch.zeros_like(velocities)], dim=2)


def plain_inputs(positions: Tensor, velocities: Tensor, charges: Tensor) -> Tensor:
    """[B, 5, 7]: positions relative to their mean, velocities, charges."""
    centred = positions - positions.mean(dim=1, keepdim=True)
    return torch.cat([centred, velocities, charges[..., None]], dim=2)


class Plain(nn.Module):
    """A network of sets on ``plain_inputs``; each particle has six outputs."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, positions: Tensor, velocities: Tensor, charges: Tensor) -> Tensor:
        return self.network(plain_inputs(positions, velocities, charges)).unflatten(2, (2, 3))


def perceptron(inside: int, width: int, outside: int) -> nn.Sequential:
    """Two linear layers with SiLU between them."""
    return nn.Sequential(nn.Linear(inside, width), nn.SiLU(), nn.Linear(width, outside))


class EGNNLayer(nn.Module):
    """Satorras et al. 2021, with velocities: messages made of distances move the particles.

    Unlike the published layer it makes weights in pairs; the second of a pair moves a vector that
    becomes Δv.
    """

    def __init__(self, width: int):
        super().__init__()
        self.message = nn.Sequential(perceptron(2 * width + 2, width, width), nn.SiLU())
        last = nn.Linear(width, 2)
        nn.init.xavier_uniform_(last.weight, gain=1e-3)  # at first the particles hardly move
        self.along = nn.Sequential(nn.Linear(width, width), nn.SiLU(), last)  # weights of x_i − x_j
        self.onward = perceptron(width, width, 2)  # weights of the initial velocity
        self.update = perceptron(2 * width, width, width)

    def forward(
        self, h: Tensor, x: Tensor, velocities: Tensor, products: Tensor
    ) -> tuple[Tensor, Tensor]:
        """New features [B, 5, C], and the changes of positions and Δv, [B, 5, 2, 3]."""
        r = x[:, RECEIVERS] - x[:, SENDERS]
        invariants = torch.cat([(r**2).sum(dim=2, keepdim=True), products[..., None]], dim=2)
        m = self.message(torch.cat([h[:, RECEIVERS], h[:, SENDERS], invariants], dim=2))
        pushes = self.along(m)[..., None] * r[:, :, None]
        moves = pushes.unflatten(1, (PARTICLES, -1)).mean(dim=2)
        moves = moves + self.onward(h)[..., None] * velocities[:, :, None]
        total = m.unflatten(1, (PARTICLES, -1)).sum(dim=2)
        return h + self.update(torch.cat([h, total], dim=2)), moves


class EGNN(nn.Module):
    """Features start from the speeds; the edges carry the products of the charges."""

    def __init__(self, width: int = 64, layers: int = 4):
        super().__init__()
        self.enter = nn.Linear(1, width)
        self.layers = nn.ModuleList(EGNNLayer(width) for _ in range(layers))

    def forward(self, positions: Tensor, velocities: Tensor, charges: Tensor) -> Tensor:
        h = self.enter((velocities**2).sum(dim=2, keepdim=True).sqrt())
        products = charges[:, RECEIVERS] * charges[:, SENDERS]
        moved = torch.zeros_like(torch.stack([positions, velocities], dim=2))
        for layer in self.layers:
            h, moves = layer(h, positions + moved[:, :, 0], velocities, products)
            moved = moved + moves
        return moved


def complete_graph(positions: Tensor, charges: Tensor) -> Edges:
    """The 20 edges of each of B systems, with c_i c_j as the scalar of an edge."""
    systems, device = len(charges), charges.device

    def everywhere(indices: list[Any], step: int) -> Tensor:
        """The ``indices`` of one system, repeated for every system with an offset of ``step``."""
        of_one = torch.tensor(indices, device=device)
        first_B = torch.arange(0, systems * step, step, device=device)
        return (first_B.view(-1, *[1] * of_one.ndim) + of_one).flatten(0, 1)

    dst_E = everywhere(RECEIVERS, PARTICLES)
    return Edges(
        src_E=everywhere(SENDERS, PARTICLES),
        dst_E=dst_E,
        edge_ptr=torch.arange(0, len(dst_E) + 1, PARTICLES - 1, device=device),
        d_E3=(positions[:, RECEIVERS] - positions[:, SENDERS]).flatten(0, 1),
        scalars_ES=(charges[:, RECEIVERS] * charges[:, SENDERS]).reshape(-1, 1),
        alike_PD=everywhere(TWINS, len(PAIRS)),
    )


class SE3Transformer(nn.Module):
    """The published N-body network: velocities as degree 1; charges are in the edges alone."""

    def __init__(self, degrees: int):
        super().__init__()
        settings = Se3TransformerConfig(
            degrees=degrees,
            channels=8,
            layers=4,
            heads=2,
            value_divisor=4,
            self_interaction="linear",
            relative_position="add",
        )
        self.encoder = SE3Encoder(settings, {1: 1}, {1: 2}, edge_scalars=1, published="nbody")

    def forward(self, positions: Tensor, velocities: Tensor, charges: Tensor) -> Tensor:
        features = {1: velocities.reshape(-1, 1, 3)}
        output = self.encoder(features, complete_graph(positions, charges))
        return output[1].reshape(-1, PARTICLES, 2, 3)


class TFN(nn.Module):
    """The published N-body tensor field network: the same inputs, and charges as degree 0.

    Only its self-interaction is that of the molecular one: a particle's own features are added to its
    messages. Without, it learns its own velocity by way of the other particles, and hardly learns.
    """

    def __init__(self, degrees: int):
        super().__init__()
        settings = TfnConfig(degrees=degrees, channels=8, layers=3)
        fiber_in = {0: 1, 1: 1}
        self.encoder = SE3Encoder(
            settings, fiber_in, {1: 2}, edge_scalars=1, published="nbody", added=True
        )

    def forward(self, positions: Tensor, velocities: Tensor, charges: Tensor) -> Tensor:
        features = {0: charges.reshape(-1, 1, 1), 1: velocities.reshape(-1, 1, 3)}
        output = self.encoder(features, complete_graph(positions, charges))
        return output[1].reshape(-1, PARTICLES, 2, 3)
