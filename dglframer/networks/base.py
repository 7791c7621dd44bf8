"""What every encoder is to the rest of the package: features by degree, then pooling and a head.

To add one: settings in ``encoder_config``, a ``PropertyNetwork`` with its ``encode``, a line below.
"""

from torch import Tensor, nn
from torch.nn import functional

from dglframer.config.networks import EncoderConfig, ModelConfig
from dglframer.graphs.batch import Batch
from dglframer.graphs.edge_ops import pooled

Features = dict[int, Tensor]  # degree l -> [N, C, 2l + 1]; at the sources of edges [E, C, 2l + 1]


class Head(nn.Module):
    """From what is pooled over atoms to the targets."""

    def __init__(self, width: int, n_targets: int):
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.output = nn.Linear(width, n_targets)

    def forward(self, x_BW: Tensor) -> Tensor:
        return self.output(functional.relu(self.hidden(x_BW)))


class PropertyNetwork(nn.Module):
    """An encoder, its scalars pooled over atoms, a head. The output is in normalised units."""

    head: Head

    def __init__(self, model: EncoderConfig):
        super().__init__()
        self.model = model

    def encode(self, batch: Batch) -> Features:
        """Features of the atoms; those of degree 0 do not change with the crystal's orientation."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Tensor:
        """[B, T] predictions of a batch whose edge vectors have the parameters' type."""
        scalars_NW = self.encode(batch)[0].squeeze(-1)
        return self.head(pooled(scalars_NW, batch.atoms_B, self.model.pooling))

    def calibrate(self, batch: Batch) -> None:
        """Set constants that depend on the training data; most encoders have none."""

    def parameter_count(self) -> int:
        """Parameters as the encoder's paper counts them."""
        return sum(parameter.numel() for parameter in self.parameters())


def empty_network(model: EncoderConfig, n_targets: int) -> PropertyNetwork:
    """A network of the encoder that the settings are of, to be filled with weights."""
    if isinstance(model, ModelConfig):
        from dglframer.networks.crystalframer import CrystalFramer

        return CrystalFramer(model, n_targets)
    from dglframer.networks.se3_transformer.network import SE3Network

    return SE3Network(model, n_targets)


def fresh_network(model: EncoderConfig, n_targets: int, seed: int) -> PropertyNetwork:
    """A network with parameters drawn from ``seed``."""
    if isinstance(model, ModelConfig):
        from dglframer.networks.crystalframer import CrystalFramer, initialise

        return initialise(CrystalFramer(model, n_targets), seed)
    from dglframer.networks.se3_transformer.network import drawn

    return drawn(model, n_targets, seed)
