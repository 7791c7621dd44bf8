"""The table of encoders: which network the settings are of."""

import torch

from dglframer.config.networks import (
    CrystalFramerConfig,
    EncoderConfig,
    Se3TransformerConfig,
    TfnConfig,
)
from dglframer.networks.base import PropertyNetwork
from dglframer.networks.crystalframer import CrystalFramer
from dglframer.networks.se3_transformer.network import SE3Network

NETWORKS: dict[type[EncoderConfig], type[PropertyNetwork]] = {
    CrystalFramerConfig: CrystalFramer,
    Se3TransformerConfig: SE3Network,
    TfnConfig: SE3Network,
}


def build(settings: EncoderConfig, n_targets: int) -> PropertyNetwork:
    """The network of some settings; its parameters are to be drawn or filled with weights."""
    with torch.random.fork_rng(devices=[]):  # torch's layers draw; nobody else's numbers may change
        return NETWORKS[type(settings)](settings, n_targets)
