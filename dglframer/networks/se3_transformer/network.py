"""Crystal properties from an SE(3)-Transformer or TFN: embedded elements in, mean of scalars out."""

import torch

from dglframer.config.networks import Se3TransformerConfig, TfnConfig
from dglframer.graphs.batch import Batch
from dglframer.networks.base import Features, Head, PropertyNetwork
from dglframer.networks.element_embedding import ElementEmbedding
from dglframer.networks.se3_transformer.edges import edges_within
from dglframer.networks.se3_transformer.encoder import SE3Encoder


class SE3Network(PropertyNetwork):
    """As the published molecular model: scalars of degrees x channels leave the last layer."""

    settings: Se3TransformerConfig | TfnConfig

    def __init__(self, settings: Se3TransformerConfig | TfnConfig, n_targets: int = 1):
        super().__init__(settings, n_targets)
        width = settings.degrees * settings.channels
        self.cutoff = settings.cutoff_angstrom
        self.embedding = ElementEmbedding(settings.channels, settings.element_properties)
        self.encoder = SE3Encoder(settings, {0: settings.channels}, {0: width})
        self.head = Head(width, n_targets)

    def encode(self, batch: Batch) -> Features:
        """Invariant features of the atoms, {0: [N, W, 1]}."""
        scalars_NC1 = self.embedding(batch.numbers_N - 1).unsqueeze(-1)
        return self.encoder({0: scalars_NC1}, edges_within(batch, self.cutoff))

    def draw(self, seed: int) -> "SE3Network":
        """torch's own initialisation; its generator is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            drawn = SE3Network(self.settings, self.n_targets)
        self.load_state_dict(drawn.state_dict())
        return self
