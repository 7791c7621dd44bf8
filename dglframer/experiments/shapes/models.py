"""The networks of the comparison: points [B, P, 3] -> a logit for each of the fifteen classes, [B, 15].

None depends on the order of the points. SE(3)-Transformer and TFN do not change with rotations; with the
height as one more scalar (``_z``) they do not change with rotations about z. The others have no such
symmetry.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dglframer.config.networks import Se3TransformerConfig, TfnConfig
from dglframer.experiments.sets import DeepSet, SetTransformer
from dglframer.networks.base import Head
from dglframer.networks.se3_transformer.edges import SHORTEST_ANGSTROM, Edges
from dglframer.networks.se3_transformer.encoder import SE3Encoder

CLASSES = 15
VALUE_DIVISOR, HEADS = 2, 4


@dataclass(frozen=True)
class Size:
    """The size of the equivariant networks, and the number of neighbours of a point."""

    degrees: int
    channels: int
    layers: int
    neighbours: int


def build(name: str, size: Size, seed: int) -> nn.Module:
    """A network with weights drawn from ``seed``; the global random generators keep their state."""
    kind = name.removesuffix("_z")
    makers: dict[str, Callable[[], nn.Module]] = {
        "deepset": lambda: SetClassifier(DeepSet(3, 128, width=128), 128),
        "set_transformer": lambda: SetClassifier(SetTransformer(3, 64, width=64), 64),
        "pointnet": PointNet,
        "tfn": lambda: Equivariant(tfn(size), size.neighbours, name != kind),
        "se3_transformer": lambda: Equivariant(
            se3_transformer(size), size.neighbours, name != kind
        ),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return makers[kind]()


def tfn(size: Size) -> TfnConfig:
    """The settings of the tensor field network."""
    return TfnConfig(degrees=size.degrees, channels=size.channels, layers=size.layers)


def se3_transformer(size: Size) -> Se3TransformerConfig:
    """The settings of the SE(3)-Transformer."""
    return Se3TransformerConfig(
        degrees=size.degrees,
        channels=size.channels,
        layers=size.layers,
        heads=HEADS,
        value_divisor=VALUE_DIVISOR,
    )


def neighbour_graph(points_BP3: Tensor, neighbours: int) -> Edges:
    """Edges to each point from its nearest ones. A point in the same place is no neighbour.

    The edges of B objects are one graph, object after object.
    """
    objects, points, _ = points_BP3.shape
    # Not by products of matrices: their rounding would choose neighbours by the orientation.
    distance_BPP = torch.cdist(points_BP3, points_BP3, compute_mode="donot_use_mm_for_euclid_dist")
    distance_BPP = distance_BPP.masked_fill(distance_BPP < SHORTEST_ANGSTROM, torch.inf)
    near_BPK = distance_BPP.topk(neighbours, largest=False).indices
    first_B11 = torch.arange(0, objects * points, points, device=points_BP3.device).view(-1, 1, 1)
    src_E = (first_B11 + near_BPK).flatten()
    edge_ptr = torch.arange(0, len(src_E) + 1, neighbours, device=points_BP3.device)
    dst_E = torch.arange(objects * points, device=points_BP3.device).repeat_interleave(neighbours)
    x_N3 = points_BP3.flatten(0, 1)
    d_E3 = x_N3.index_select(0, dst_E) - x_N3.index_select(0, src_E)
    return Edges(src_E, dst_E, edge_ptr, d_E3, scalars_ES=d_E3.new_empty(len(src_E), 0))


def pooled(x_BPC: Tensor) -> Tensor:
    """[B, 2 C]: mean and maximum over the points."""
    return torch.cat([x_BPC.mean(dim=1), x_BPC.amax(dim=1)], dim=1)


class PooledHead(nn.Sequential):
    """From ``pooled`` features to logits. Batch norm first: objects differ by little in the raw ones."""

    def __init__(self, width: int):
        super().__init__(nn.BatchNorm1d(2 * width), Head(2 * width, CLASSES))


class Equivariant(nn.Module):
    """A point enters with its position (degree 1) and, ``with_height``, its z; pooled scalars leave."""

    def __init__(
        self, settings: Se3TransformerConfig | TfnConfig, neighbours: int, with_height: bool
    ):
        super().__init__()
        self.neighbours, self.with_height = neighbours, with_height
        width = settings.degrees * settings.channels
        fiber_in = {0: 1, 1: 1} if with_height else {1: 1}
        self.encoder = SE3Encoder(settings, fiber_in, {0: width})
        self.head = PooledHead(width)

    def forward(self, points_BP3: Tensor) -> Tensor:
        features = {1: points_BP3.reshape(-1, 1, 3)}
        if self.with_height:
            features[0] = points_BP3[..., 2].reshape(-1, 1, 1)
        scalars_NC1 = self.encoder(features, neighbour_graph(points_BP3, self.neighbours))[0]
        return self.head(pooled(scalars_NC1.unflatten(0, points_BP3.shape[:2]).squeeze(-1)))


class SetClassifier(nn.Module):
    """A network of sets whose outputs are pooled.

    The Set Transformer's own pooling, a learned query that attends to the points (Lee et al. 2019, "PMA"),
    learns far more slowly here: objects differ by little in what it returns at first.
    """

    def __init__(self, points: nn.Module, width: int):
        super().__init__()
        self.points = points
        self.head = PooledHead(width)

    def forward(self, points_BP3: Tensor) -> Tensor:
        return self.head(pooled(self.points(points_BP3)))


class PointNet(nn.Module):
    """Qi et al. 2017 without learned rotations of the input: layers of each point alone, then a maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Sequential(*(Normed(a, b) for a, b in POINT_SIZES))
        self.head = nn.Sequential(*(Normed(a, b) for a, b in HEAD_SIZES), nn.Linear(256, CLASSES))

    def forward(self, points_BP3: Tensor) -> Tensor:
        x_NC = self.points(points_BP3.flatten(0, 1))
        return self.head(x_NC.unflatten(0, points_BP3.shape[:2]).amax(dim=1))


POINT_SIZES = [(3, 64), (64, 64), (64, 64), (64, 128), (128, 1024)]
HEAD_SIZES = [(1024, 512), (512, 256)]


class Normed(nn.Sequential):
    """A linear layer, batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU())
