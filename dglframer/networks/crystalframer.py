"""CrystalFramer (Ito et al., ICLR 2025), read top to bottom as the paper goes.

Shapes: B crystals, N atoms, E edges (j, n) -> i, H heads, D features of a head, W = H D features of
an atom, K basis functions, T targets. Lengths in angstrom. docs/model.md has the formulas.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from dglframer.attention.geometry import Geometry
from dglframer.attention.reference import attention_sums
from dglframer.common.elements import HEAVIEST
from dglframer.config.networks import ModelConfig
from dglframer.graphs.batch import Batch
from dglframer.networks.base import Features, Head, PropertyNetwork


class InfiniteAttention(nn.Module):
    """Attention to every image of every atom, decaying with distance, with encoded positions.

    y_i = sum_e alpha_e (v_j + psi_e),  alpha = softmax over (j, n) of  q.k / sqrt(D) - r^2 / 2 s_i^2
    """

    sigma_scale: Tensor
    sigma_shift: Tensor

    def __init__(self, model: ModelConfig):
        super().__init__()
        self.model = model
        width, heads = model.width, model.heads
        head_width = width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.sigma_weight_HD = nn.Parameter(torch.empty(heads, head_width))
        self.register_buffer("sigma_scale", torch.zeros(()))
        self.register_buffer("sigma_shift", torch.zeros(()))
        self.distance_HDK = nn.Parameter(torch.empty(heads, head_width, model.distance_bins))
        if model.frame != "none":
            shape = (3, heads, head_width, model.angle_bins)
            self.angle_3HDK = nn.Parameter(torch.empty(shape))

    def forward(self, x_NW: Tensor, geometry: Geometry) -> Tensor:
        """[N, W]; psi = c_dist E0 b(|r|) + c_ang sum_k E_k b(e_k . r / |r|), summed before E."""
        model = self.model
        q_NHD, k_NHD, v_NHD = (
            layer(x_NW).unflatten(1, (model.heads, -1))
            for layer in (self.query, self.key, self.value)
        )
        y_NHD, dist_NHK, angle_N3HK = attention_sums(
            q_NHD, k_NHD, v_NHD, self.decay(q_NHD), geometry
        )
        dist_NHD = torch.einsum("hdk,nhk->nhd", self.distance_HDK, dist_NHK)
        if model.frame == "none":  # Crystalformer: distances alone, without a coefficient
            return self.output((y_NHD + dist_NHD).flatten(1))
        angle_NHD = torch.einsum("ahdk,nahk->nhd", self.angle_3HDK, angle_N3HK)
        psi_NHD = model.distance_coefficient * dist_NHD + model.angle_coefficient * angle_NHD
        return self.output((y_NHD + psi_NHD).flatten(1))

    def sigma_projection(self, q_NHD: Tensor) -> Tensor:
        """[N, H]: w^h . q_i^h, from which the width of the attention is computed."""
        return (q_NHD * self.sigma_weight_HD).sum(-1)

    def decay(self, q_NHD: Tensor) -> Tensor:
        """[N, H]: 1 / 2 sigma^2 = rho / 2 r0^2, rho = (1 - b) ELU(beta t / (1 - b)) + 1."""
        model = self.model
        t_NH = (self.sigma_projection(q_NHD) + self.sigma_shift) * self.sigma_scale
        room = 1 - model.rho_floor
        rho_NH = room * functional.elu(t_NH * (model.rho_slope / room)) + 1
        return rho_NH / (2 * model.r0_angstrom**2)


class Block(nn.Module):
    """Attention and feed-forward layer on residual branches, without normalisation (T-Fixup)."""

    def __init__(self, model: ModelConfig):
        super().__init__()
        self.attention = InfiniteAttention(model)
        self.expand = nn.Linear(model.width, model.feedforward)
        self.contract = nn.Linear(model.feedforward, model.width)

    def forward(self, x_NW: Tensor, geometry: Geometry) -> Tensor:
        x_NW = x_NW + self.attention(x_NW, geometry)
        return x_NW + self.contract(functional.relu(self.expand(x_NW)))


class CrystalFramer(PropertyNetwork):
    """Embedding and blocks; pooling and head are those of every encoder."""

    model: ModelConfig

    def __init__(self, model: ModelConfig, n_targets: int = 1):
        super().__init__(model)
        self.embedding = nn.Embedding(HEAVIEST, model.width)
        self.blocks = nn.ModuleList(Block(model) for _ in range(model.blocks))
        self.head = Head(model.width, n_targets)

    def encode(self, batch: Batch) -> Features:
        """{0: [N, W, 1]}"""
        x_NW, geometry = self.start(batch)
        for block in self.blocks:
            x_NW = block(x_NW, geometry)
        return {0: x_NW.unsqueeze(-1)}

    def start(self, batch: Batch) -> tuple[Tensor, Geometry]:
        """What enters the first block."""
        return self.embedding(batch.numbers_N - 1), Geometry(batch, self.model)

    @torch.no_grad()
    def calibrate(self, batch: Batch) -> None:
        """Set each block's sigma constants so that t has mean 0 and deviation 1 over ``batch``.

        Block by block, each on inputs made by calibrated blocks before it. The constants are stored
        with the model and are not trained.
        """
        x_NW, geometry = self.start(batch)
        for block in blocks_of(self):
            attention = block.attention
            q_NHD = attention.query(x_NW).unflatten(1, (self.model.heads, -1))
            projection_NH = attention.sigma_projection(q_NHD)
            attention.sigma_shift.copy_(-projection_NH.mean())
            attention.sigma_scale.copy_(1 / projection_NH.std())
            x_NW = block(x_NW, geometry)

    def parameter_count(self) -> int:
        """With three constants a block, as the paper counts them (scale, shift, one unused)."""
        return super().parameter_count() + 3 * self.model.blocks


def initialise(network: CrystalFramer, seed: int) -> CrystalFramer:
    """Draw every parameter (T-Fixup without layer norm, docs/model.md section 7); returns it.

    The widths of the attention are left uncalibrated; ``CrystalFramer.calibrate`` sets them.
    """
    generator = torch.Generator().manual_seed(seed)
    model = network.model
    gain = 0.67 * model.blocks**-0.25
    with torch.no_grad():
        std = model.width**-0.5 * (9 * model.blocks) ** -0.25
        network.embedding.weight.normal_(0, std, generator=generator)
        for block in blocks_of(network):
            attention = block.attention
            for layer in (attention.query, attention.key):
                nn.init.xavier_uniform_(layer.weight, 1.0, generator)
            scaled = (attention.value, attention.output, block.expand, block.contract)
            for layer in scaled:
                nn.init.xavier_uniform_(layer.weight, gain, generator)
            for layer in (attention.query, attention.key, *scaled):
                layer.bias.zero_()
            head_width = model.width // model.heads
            attention.sigma_weight_HD.normal_(0, head_width**-0.5, generator=generator)
            projections = [attention.distance_HDK]
            if model.frame != "none":
                projections += list(attention.angle_3HDK)
            for projection in projections:
                bins = projection.shape[-1]
                nn.init.xavier_uniform_(projection.flatten(0, 1), bins**-0.5, generator)
        for layer in (network.head.hidden, network.head.output):
            bound = layer.in_features**-0.5
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)
    return network


def blocks_of(network: CrystalFramer) -> Iterator[Block]:
    """The blocks, typed."""
    for block in network.blocks:
        assert isinstance(block, Block)
        yield block
