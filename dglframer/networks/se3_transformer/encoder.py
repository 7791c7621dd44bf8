"""The encoder: layers of attention or convolution with nonlinearities between them."""

import math
from typing import Literal

from torch import nn

from dglframer.config.networks import Se3TransformerConfig, TfnConfig
from dglframer.networks.base import Features
from dglframer.networks.se3_transformer.basis import kernel_basis
from dglframer.networks.se3_transformer.blocks import Attention, Convolution, Mixing
from dglframer.networks.se3_transformer.edges import Edges
from dglframer.networks.se3_transformer.layers import Fiber, Kernels, NormBias, NormLayer

Published = Literal["qm9", "nbody"]


class SE3Encoder(nn.Module):
    """Features by degree from features by degree; equivariant under rotations and translations.

    With attention for ``Se3TransformerConfig``, without for ``TfnConfig``. ``published`` says which of
    the paper's two networks it has the shape of: ``qm9`` (NormLayer between the layers, a convolution
    at the end) or ``nbody`` (NormBias, attention with attentive mixing at the end). A node's own features
    are added to the mean of its messages (Convolution) in ``qm9``, in ``nbody`` if ``added``.
    """

    def __init__(
        self,
        config: Se3TransformerConfig | TfnConfig,
        fiber_in: Fiber,
        fiber_out: Fiber,
        edge_scalars: int = 0,
        published: Published = "qm9",
        added: bool = False,
    ):
        super().__init__()
        self.config, self.fiber_in, self.fiber_out = config, fiber_in, fiber_out
        self.inputs = edge_scalars + 1
        self.added = added or published == "qm9"
        middle = dict.fromkeys(range(config.degrees), config.channels)
        fibers = [fiber_in, *[middle] * config.layers]
        self.layers = nn.ModuleList()
        self.norms = nn.ModuleList()
        for before in fibers[:-1]:
            self.layers.append(self.layer(before, middle))
            self.norms.append(
                NormLayer(middle, config.norm_floor) if published == "qm9" else NormBias(middle)
            )
        if published == "qm9" or isinstance(config, TfnConfig):
            last: nn.Module = self.convolution(middle, fiber_out)
        else:
            heads = math.gcd(config.heads, *fiber_out.values())
            last = self.attention(middle, fiber_out, heads, divisor=1, mixing="attentive")
        self.layers.append(last)

    def layer(self, fiber_in: Fiber, fiber_out: Fiber) -> nn.Module:
        """One of the inner layers."""
        config = self.config
        if isinstance(config, TfnConfig):
            return self.convolution(fiber_in, fiber_out)
        return self.attention(
            fiber_in, fiber_out, config.heads, config.value_divisor, config.self_interaction
        )

    def attention(
        self, fiber_in: Fiber, fiber_out: Fiber, heads: int, divisor: int, mixing: Mixing
    ) -> Attention:
        config = self.config
        assert isinstance(config, Se3TransformerConfig)
        return Attention(
            fiber_in,
            fiber_out,
            self.inputs,
            config.parity,
            heads,
            divisor,
            mixing,
            config.relative_position,
        )

    def convolution(self, fiber_in: Fiber, fiber_out: Fiber) -> Convolution:
        return Convolution(fiber_in, fiber_out, self.inputs, self.config.parity, self.added)

    def forward(self, features: Features, edges: Edges) -> Features:
        """Features of every node in ``fiber_out``, [N, C_l, 2l + 1], from those in ``fiber_in``."""
        basis = kernel_basis(edges.d_X3, self.pairs(), self.config.parity)
        for layer, norm in zip(self.layers[:-1], self.norms, strict=True):
            features = norm(layer(features, edges, basis))
        return self.layers[-1](features, edges, basis)

    def pairs(self) -> set[tuple[int, int]]:
        """Every pair of degrees that some layer has a kernel for."""
        kernels = [module for module in self.modules() if isinstance(module, Kernels)]
        return {pair for one in kernels for _, pair in one.names}
