"""The table of encoders: which network the settings are of."""

from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

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


class Undrawn(TorchFunctionMode):
    """Nothing is drawn. (On the meta device a normal number imports 870 modules, which takes 5 s.)"""

    def __torch_function__(self, function, types, args=(), kwargs=None) -> Any:
        kwargs = kwargs or {}
        if function is torch.randn:
            function = torch.empty
        elif function is nn.init.normal_:
            return kwargs["tensor"]
        return function(*args, **kwargs)


def shapes(settings: EncoderConfig, n_targets: int) -> dict[str, tuple[int, ...]]:
    """The tensors of the network of some settings, by name; takes no memory for them."""
    with torch.device("meta"), Undrawn():
        tensors = build(settings, n_targets).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
