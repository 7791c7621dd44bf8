"""The two layers of a network: attention (SE(3)-Transformer) and plain convolution (TFN)."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from dglframer.networks.base import Features
from dglframer.networks.se3_transformer.basis import Pair, Parity
from dglframer.networks.se3_transformer.edges import Edges
from dglframer.networks.se3_transformer.layers import (
    AttentiveMixing,
    Fiber,
    Kernels,
    LinearByDegree,
)

Mixing = Literal["linear", "attentive"]
RelativePosition = Literal["none", "add", "concatenate"]


class Attention(nn.Module):
    """Attention of every node to its neighbours, with kernels as values and keys (equations 10-13).

    Queries are the node's own features mixed by degree; heads share out the channels of every
    degree; the block's input is concatenated before the last mixing of channels.
    """

    def __init__(
        self,
        fiber_in: Fiber,
        fiber_out: Fiber,
        inputs: int,
        parity: Parity,
        heads: int,
        divisor: int,
        mixing: Mixing,
        relative_position: RelativePosition,
    ):
        super().__init__()
        value = {l: channels // divisor for l, channels in fiber_out.items()}
        key = {l: channels for l, channels in value.items() if l in fiber_in}
        at_edges = dict(fiber_in)
        if relative_position == "concatenate":
            at_edges[1] = at_edges.get(1, 0) + 1
        self.heads, self.relative_position = heads, relative_position
        self.scale = sum(channels * (2 * l + 1) for l, channels in key.items()) ** -0.5
        self.kernels = Kernels(at_edges, {"value": value, "key": key}, inputs, parity)
        self.query = LinearByDegree(fiber_in, key)
        joined = {l: channels + fiber_in.get(l, 0) for l, channels in value.items()}
        mix = AttentiveMixing if mixing == "attentive" else LinearByDegree
        self.output = mix(joined, fiber_out)

    def forward(self, features: Features, edges: Edges, basis: Mapping[Pair, Tensor]) -> Features:
        messages = self.kernels(self.at_sources(features, edges), edges, basis)
        q_NHD = by_head(self.query(features), self.heads)
        k_EHD = by_head(messages["key"], self.heads)
        logits_EH = (q_NHD.index_select(0, edges.dst_E) * k_EHD).sum(-1) * self.scale
        if edges.envelope_E is not None:  # a factor of exp(logit)
            logits_EH = logits_EH + edges.envelope_E.log().unsqueeze(1)
        alpha_EH11 = edges.ops.softmax(logits_EH)[:, :, None, None]
        joined = {}
        for l, value_ECM in messages["value"].items():
            weighted_EHCM = alpha_EH11 * value_ECM.unflatten(1, (self.heads, -1))
            sum_NCM = edges.ops.edge_sum(weighted_EHCM.flatten(1)).unflatten(1, value_ECM.shape[1:])
            joined[l] = torch.cat([sum_NCM, features[l]], 1) if l in features else sum_NCM
        return self.output(joined)

    def at_sources(self, features: Features, edges: Edges) -> Features:
        """What the kernels act on, [X, C, 2k + 1] in the order of rows, relative positions among it."""
        found = edges.at_sources(features)
        d_X13 = edges.d_X3.unsqueeze(1)
        if self.relative_position == "concatenate":
            found[1] = torch.cat([found[1], d_X13], 1) if 1 in found else d_X13
        elif self.relative_position == "add" and 1 in found and found[1].shape[1] > 1:
            found[1] = torch.cat([found[1][:, :1] + d_X13, found[1][:, 1:]], 1)
        return found


class Convolution(nn.Module):
    """A tensor field network layer: the mean of the messages, with a self-interaction.

    ``added``: W f_i is added to the mean (the published molecular model); otherwise W mixes the
    message itself (the published N-body model).
    """

    def __init__(self, fiber_in: Fiber, fiber_out: Fiber, inputs: int, parity: Parity, added: bool):
        super().__init__()
        self.added = added
        self.kernels = Kernels(fiber_in, {"value": fiber_out}, inputs, parity)
        shared = {l: channels for l, channels in fiber_out.items() if l in fiber_in}
        self.own = LinearByDegree(fiber_in if added else fiber_out, shared if added else fiber_out)

    def forward(self, features: Features, edges: Edges, basis: Mapping[Pair, Tensor]) -> Features:
        messages = self.kernels(edges.at_sources(features), edges, basis)["value"]
        means = {}
        for l, value_ECM in messages.items():
            sum_NX = edges.ops.edge_sum(value_ECM.flatten(1))
            means[l] = (sum_NX / edges.degree_N1).unflatten(1, value_ECM.shape[1:])
        if not self.added:
            return self.own(means)
        own = self.own(features)
        return {l: mean_NCM + own[l] if l in own else mean_NCM for l, mean_NCM in means.items()}


def by_head(features: Features, heads: int) -> Tensor:
    """[N, H, D]: the channels of every degree shared out among the heads, degrees beside each other."""
    parts = [x.unflatten(1, (heads, -1)).flatten(2) for _, x in sorted(features.items())]
    return torch.cat(parts, 2)
