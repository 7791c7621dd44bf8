"""What every encoder is to the rest of the package: features by degree, then pooling and a head.

``build`` has the table of encoders.
"""

from torch import Tensor, nn
from torch.nn import functional

from dglframer.config.networks import SYMMETRY_GROUPS, EncoderConfig, symmetry_group
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

    def __init__(self, settings: EncoderConfig, n_targets: int = 1):
        super().__init__()
        self.settings, self.n_targets = settings, n_targets

    def encode(self, batch: Batch) -> Features:
        """Features of the atoms; those of degree 0 do not change with the crystal's orientation."""
        raise NotImplementedError

    def scalars(self, batch: Batch) -> Tensor:
        """[N, W]: the features of degree 0, which are pooled.

        Raises ValueError if an atom stands for others that have other features in this network.
        """
        allowed = SYMMETRY_GROUPS.index(symmetry_group(self.settings))
        if SYMMETRY_GROUPS.index(batch.group) > allowed:
            raise ValueError(f"atoms that this network tells apart are one here: {batch.group}")
        return self.encode(batch)[0].squeeze(-1)

    def atom_features(self, batch: Batch) -> Tensor:
        """[A, W]: the features of degree 0 of every atom of the crystals."""
        return batch.of_every_atom(self.scalars(batch))

    def crystal_features(self, batch: Batch) -> Tensor:
        """[B, W]: the features of the atoms, pooled; what the head sees."""
        return pooled(self.scalars(batch), batch, self.settings.pooling)

    def forward(self, batch: Batch) -> Tensor:
        """[B, T] predictions of a batch whose edge vectors have the parameters' type."""
        return self.head(self.crystal_features(batch))

    def draw(self, seed: int) -> "PropertyNetwork":
        """Draw every parameter from ``seed``; returns the network."""
        raise NotImplementedError

    def calibrate(self, batch: Batch) -> None:
        """Set constants that depend on the training data; most encoders have none."""

    def dense_rows(self, batch: Batch) -> int:
        """Rows of the largest dense layers: edges, where an encoder has layers for them."""
        return len(batch.src_E)

    def parameter_count(self) -> int:
        """Parameters as the encoder's paper counts them."""
        return sum(parameter.numel() for parameter in self.parameters())
