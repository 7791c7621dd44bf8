"""What the blocks are made of: radial nets, kernels, self-interactions, nonlinearities.

Shapes: N nodes, E edges, P rows of D edges (``Edges.rows_PD``), X = P D, C channels, F frequencies of a
pair of degrees, R radial nets.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dglframer.networks.base import Features
from dglframer.networks.se3_transformer.basis import Pair, Parity, frequencies
from dglframer.networks.se3_transformer.edges import Edges

Fiber = dict[int, int]  # degree -> channels

HIDDEN = 32  # width of the published radial nets


class RadialNets(nn.Module):
    """R perceptrons (linear, layer norm, ReLU, twice) of the edge scalars, evaluated together."""

    def __init__(self, nets: int, inputs: int):
        super().__init__()
        shapes = {"first": (nets, inputs, HIDDEN), "second": (nets, HIDDEN, HIDDEN)}
        for name, shape in shapes.items():
            self.register_parameter(f"{name}_weight", nn.Parameter(torch.empty(shape)))
            for part in ("bias", "norm_weight", "norm_bias"):
                vector = nn.Parameter(torch.empty(nets, 1, HIDDEN))
                self.register_parameter(f"{name}_{part}", vector)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Kaiming-uniform weights, biases as torch's linear layers have them."""
        for name in ("first", "second"):
            weight, bias = self.get_parameter(f"{name}_weight"), self.get_parameter(f"{name}_bias")
            fan_in = weight.shape[1]
            nn.init.uniform_(weight, -((6 / fan_in) ** 0.5), (6 / fan_in) ** 0.5)
            nn.init.uniform_(bias, -(fan_in**-0.5), fan_in**-0.5)
            nn.init.ones_(self.get_parameter(f"{name}_norm_weight"))
            nn.init.zeros_(self.get_parameter(f"{name}_norm_bias"))

    def forward(self, inputs_PI: Tensor) -> Tensor:
        """[R, P, 32]"""
        h_RPI = inputs_PI.expand(len(self.get_parameter("first_weight")), -1, -1)
        for name in ("first", "second"):
            weight, bias = self.get_parameter(f"{name}_weight"), self.get_parameter(f"{name}_bias")
            h_RPI = functional.layer_norm(torch.baddbmm(bias, h_RPI, weight), (HIDDEN,))
            scale = self.get_parameter(f"{name}_norm_weight")
            h_RPI = torch.relu(h_RPI * scale + self.get_parameter(f"{name}_norm_bias"))
        return h_RPI


class Kernels(nn.Module):
    """Messages of every edge for several purposes (values, keys), each with kernels of its own.

    The message of degree l is sum_k sum_J phi_J^{lk}(|d|) W_J^{lk}(d) f^k: features meet the basis
    first, then the radial weights, so that no kernel phi W is ever held. What features and basis
    give is shared by all purposes, the radial weights by the edges of a row.
    """

    def __init__(self, fiber_in: Fiber, purposes: Mapping[str, Fiber], inputs: int, parity: Parity):
        super().__init__()
        self.fiber_in, self.purposes, self.parity = fiber_in, dict(purposes), parity
        self.names = [
            (purpose, (k, l))
            for purpose, fiber_out in purposes.items()
            for k in fiber_in
            for l in fiber_out
        ]
        self.radial = RadialNets(len(self.names), inputs)
        self.last = nn.ModuleList(
            nn.Linear(HIDDEN, self.purposes[purpose][pair[1]] * self.terms(pair))
            for purpose, pair in self.names
        )
        for layer in self.last:
            assert isinstance(layer, nn.Linear)
            nn.init.kaiming_uniform_(layer.weight)

    def terms(self, pair: Pair) -> int:
        """C_in F: the terms of a sum over input channels and frequencies."""
        return self.fiber_in[pair[0]] * len(frequencies(pair, self.parity))

    def forward(
        self, features: Features, edges: Edges, basis: Mapping[Pair, Tensor]
    ) -> dict[str, Features]:
        """Features of the edges by purpose and degree, [E, C, 2l + 1].

        ``features`` are those at the sources, [X, C, 2k + 1], these and ``basis`` in the order of rows.
        """
        # unbind: the gradient of h[net] would fill all R of them with zeros, R times
        hidden = self.radial(edges.radial_inputs_PI).unbind(0)
        messages: dict[str, Features] = {purpose: {} for purpose in self.purposes}
        for l in sorted({l for _, (_, l) in self.names}):
            channels = {purpose: fiber[l] for purpose, fiber in self.purposes.items() if l in fiber}
            terms_XMC = []
            for k in self.fiber_in:
                phi = [self.radial_weights((purpose, (k, l)), hidden) for purpose in channels]
                phi_PCT = torch.cat(phi, 1)
                # One harmonic alone comes last: less is multiplied before.
                met_XBC = features[0].mT if k == 0 else basis[k, l] @ features[k].mT
                n_terms = self.terms((k, l))  # no -1 in shapes: a batch may be without any edge
                n_rows = edges.rows_PD.shape[1] * met_XBC.shape[1:].numel() // n_terms
                met_PYT = met_XBC.reshape(len(edges.rows_PD), n_rows, n_terms)
                shape_XMC = (len(met_XBC), 1 if k == 0 else 2 * l + 1, phi_PCT.shape[1])
                term_XMC = (met_PYT @ phi_PCT.mT).view(shape_XMC)
                terms_XMC.append(term_XMC * basis[k, l] if k == 0 else term_XMC)
            message_XMC = sum(terms_XMC[1:], terms_XMC[0])
            message_ECM = message_XMC.index_select(0, edges.place_E).mT
            parts = message_ECM.split(list(channels.values()), 1)
            for purpose, part_ECM in zip(channels, parts, strict=True):
                messages[purpose][l] = part_ECM
        if edges.envelope_E is not None and "value" in messages:
            envelope_E11 = edges.envelope_E.view(-1, 1, 1)
            messages["value"] = {l: v * envelope_E11 for l, v in messages["value"].items()}
        return messages

    def radial_weights(self, name: tuple[str, Pair], hidden: Sequence[Tensor]) -> Tensor:
        """[P, C', F C]: phi of one purpose and pair. The parameters have C before F, as published."""
        net, (k, _) = self.names.index(name), name[1]
        terms = (-1, self.fiber_in[k], self.terms(name[1]) // self.fiber_in[k])
        weight_XH, bias_X = (
            parameter.unflatten(0, terms).transpose(1, 2).flatten(0, 2)
            for parameter in self.last[net].parameters()
        )
        return functional.linear(hidden[net], weight_XH, bias_X).unflatten(
            1, (-1, self.terms(name[1]))
        )


class LinearByDegree(nn.Module):
    """Mixes the channels of each degree among themselves; no bias (published as ``1x1``)."""

    def __init__(self, fiber_in: Fiber, fiber_out: Fiber):
        super().__init__()
        self.weights = nn.ParameterDict(
            {
                str(l): torch.randn(fiber_out[l], fiber_in[l]).mul_(fiber_in[l] ** -0.5)
                for l in fiber_out
            }
        )

    def forward(self, features: Features) -> Features:
        return {int(l): weight @ features[int(l)] for l, weight in self.weights.items()}


class AttentiveMixing(nn.Module):
    """Mixes the channels of each degree by weights that depend on their scalar products.

    softmax over the input channels, so that outputs are averages of them (appendix C of the paper).
    """

    def __init__(self, fiber_in: Fiber, fiber_out: Fiber):
        super().__init__()
        self.nets = nn.ModuleDict()
        for l, channels in fiber_in.items():
            if l in fiber_out:
                linear = nn.Linear(channels**2, channels * fiber_out[l])
                nn.init.kaiming_uniform_(linear.weight)
                norm = nn.LayerNorm(channels**2)
                self.nets[str(l)] = nn.Sequential(norm, nn.LeakyReLU(), linear)

    def forward(self, features: Features) -> Features:
        mixed = {}
        for name, net in self.nets.items():
            x_NCM = features[int(name)]
            gram_NG = (x_NCM @ x_NCM.mT).flatten(1)
            weights_NDC = net(gram_NG).unflatten(1, (-1, x_NCM.shape[1])).softmax(-1)
            mixed[int(name)] = weights_NDC @ x_NCM
        return mixed


class NormBias(nn.Module):
    """f / |f| ReLU(|f| + b) of each channel: the nonlinearity of the published N-body model."""

    def __init__(self, fiber: Fiber):
        super().__init__()
        self.bias = nn.ParameterDict({str(l): torch.randn(c) for l, c in fiber.items()})

    def forward(self, features: Features) -> Features:
        activated = {}
        for l, x_NCM in features.items():
            norm_NC1 = x_NCM.norm(dim=-1, keepdim=True).clamp(min=1e-12)
            activated[l] = x_NCM / norm_NC1 * torch.relu(norm_NC1 + self.bias[str(l)].unsqueeze(1))
        return activated


class NormLayer(nn.Module):
    """f / |f| ReLU(LayerNorm(|f|)) over the channels of each degree: that of the molecular model.

    |f| is sqrt(f^2 + floor^2): where symmetry makes a feature vanish, its rounding errors would
    otherwise be stretched to unit length. With floor = 0 it is the published one.
    """

    def __init__(self, fiber: Fiber, floor: float):
        super().__init__()
        self.floor = floor
        self.norms = nn.ModuleDict({str(l): nn.LayerNorm(c) for l, c in fiber.items()})

    def forward(self, features: Features) -> Features:
        activated = {}
        for l, x_NCM in features.items():
            norm_NC = (x_NCM.square().sum(-1) + max(self.floor, 1e-12) ** 2).sqrt()
            gain_NC = torch.relu(self.norms[str(l)](norm_NC)) / norm_NC
            activated[l] = x_NCM * gain_NC.unsqueeze(-1)
        return activated
