"""CrystalFramer (Ito et al., ICLR 2025), read top to bottom as docs/models/crystalframer.md goes.

Shapes: B crystals, N atoms, E edges (j, n) -> i, H heads, D features of a head, W = H D features of
an atom, K Gaussians of a basis, T targets. Lengths in angstrom. Sections (§) are those of that page.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dglframer.attention import attention_over
from dglframer.attention.contract import Attention
from dglframer.attention.gaussians import even_in_third_axis
from dglframer.config.networks import CrystalFramerConfig
from dglframer.graphs.batch import Batch
from dglframer.networks.base import Features, Head, PropertyNetwork
from dglframer.networks.element_embedding import ElementEmbedding


class CrystalFramer(PropertyNetwork):
    """Embedding and blocks (§2); pooling and head are those of every encoder."""

    settings: CrystalFramerConfig

    def __init__(self, settings: CrystalFramerConfig, n_targets: int = 1):
        super().__init__(settings, n_targets)
        self.embedding = ElementEmbedding(settings.width, settings.element_properties)
        blocks = nn.ModuleList(Block(settings) for _ in range(settings.blocks))
        self.blocks = cast(Sequence[Block], blocks)
        self.head = Head(settings.width, n_targets)

    def encode(self, batch: Batch) -> Features:
        """{0: [N, W, 1]}"""
        return {0: self.attended(batch, attention_over(batch, self.settings)).unsqueeze(-1)}

    def dense_rows(self, batch: Batch) -> int:
        """Its atoms: of edges there are sums alone."""
        return len(batch.numbers_N)

    def attended(self, batch: Batch, attend: Attention) -> Tensor:
        """[N, W]: the embedded atoms after all blocks, with a given attention over the batch."""
        x_NW = self.embedding(batch.numbers_N - 1)
        for block in self.blocks:
            x_NW = block(x_NW, attend)
        return x_NW

    @torch.no_grad()
    def calibrate(self, batch: Batch) -> None:
        """Set each block's sigma constants so that t has mean 0 and deviation 1 over ``batch`` (§4).

        Block by block, each on inputs made by calibrated blocks before it. The constants are stored
        with the model and are not trained.
        """
        x_NW = self.embedding(batch.numbers_N - 1)
        attend = attention_over(batch, self.settings)
        for block in self.blocks:
            attention = block.attention
            q_NHD = attention.query(x_NW).unflatten(1, (self.settings.heads, -1))
            projection_AH = batch.of_every_atom(attention.sigma_projection(q_NHD))
            attention.sigma_shift.copy_(-projection_AH.mean())
            attention.sigma_scale.copy_(1 / projection_AH.std())
            x_NW = block(x_NW, attend)

    @torch.no_grad()
    def draw(self, seed: int) -> "CrystalFramer":
        """Draw every parameter: T-Fixup without layer norm (§7); returns the network.

        The widths of the attention are left uncalibrated; ``calibrate`` sets them.
        """
        generator = torch.Generator().manual_seed(seed)
        settings = self.settings
        std = settings.width**-0.5 * (9 * settings.blocks) ** -0.25
        self.embedding.weight.normal_(0, std, generator=generator)
        for block in self.blocks:
            block.draw(generator, gain=0.67 * settings.blocks**-0.25)
        for layer in (self.head.hidden, self.head.output):
            bound = layer.in_features**-0.5
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)
        # Last: with or without them a seed draws the same other parameters.
        self.embedding.draw_properties(std, generator)
        return self

    def parameter_count(self) -> int:
        """With three constants a block, as the paper counts them (scale, shift, one unused)."""
        return super().parameter_count() + 3 * self.settings.blocks


class Block(nn.Module):
    """Attention and feed-forward layer on residual branches, without normalisation (§2)."""

    def __init__(self, settings: CrystalFramerConfig):
        super().__init__()
        self.attention = InfiniteAttention(settings)
        self.expand = nn.Linear(settings.width, settings.feedforward)
        self.contract = nn.Linear(settings.feedforward, settings.width)

    def forward(self, x_NW: Tensor, attend: Attention) -> Tensor:
        x_NW = x_NW + self.attention(x_NW, attend)
        return x_NW + self.contract(functional.relu(self.expand(x_NW)))

    def draw(self, generator: torch.Generator, gain: float) -> None:
        """Draw the parameters of one block (§7)."""
        attention = self.attention
        for layer in (attention.query, attention.key):
            nn.init.xavier_uniform_(layer.weight, 1.0, generator)
        scaled = (attention.value, attention.output, self.expand, self.contract)
        for layer in scaled:
            nn.init.xavier_uniform_(layer.weight, gain, generator)
        for layer in (attention.query, attention.key, *scaled):
            layer.bias.zero_()
        std = attention.sigma_weight_HD.shape[1] ** -0.5
        attention.sigma_weight_HD.normal_(0, std, generator=generator)
        for projection_HDK in attention.position_projections():
            bins = projection_HDK.shape[-1]
            nn.init.xavier_uniform_(projection_HDK.flatten(0, 1), bins**-0.5, generator)


class InfiniteAttention(nn.Module):
    """Attention to every image of every atom, decaying with distance, with encoded positions (§3).

    y_i = sum_e alpha_e (v_j + psi_e),  alpha = softmax over (j, n) of  q.k / sqrt(D) - r^2 / 2 s_i^2
    """

    sigma_scale: Tensor
    sigma_shift: Tensor

    def __init__(self, settings: CrystalFramerConfig):
        super().__init__()
        self.settings = settings
        width, heads = settings.width, settings.heads
        head_width = width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.sigma_weight_HD = nn.Parameter(torch.empty(heads, head_width))
        self.register_buffer("sigma_scale", torch.zeros(()))
        self.register_buffer("sigma_shift", torch.zeros(()))
        self.distance_HDK = nn.Parameter(torch.empty(heads, head_width, settings.distance_bins))
        if settings.frame != "none":
            shape = (3, heads, head_width, settings.angle_bins)
            self.angle_3HDK = nn.Parameter(torch.empty(shape))

    def forward(self, x_NW: Tensor, attend: Attention) -> Tensor:
        """[N, W]; psi = c_dist E0 b(|r|) + c_ang sum_k E_k b(e_k . r / |r|), summed before E (§5)."""
        settings = self.settings
        q_NHD, k_NHD, v_NHD = (
            layer(x_NW).unflatten(1, (settings.heads, -1))
            for layer in (self.query, self.key, self.value)
        )
        sums = attend(q_NHD, k_NHD, v_NHD, self.decay(q_NHD))
        psi_HND = torch.bmm(sums.distances_HNK, self.distance_HDK.transpose(1, 2))
        if settings.frame != "none":  # without: Crystalformer, distances alone, no coefficient
            angle_3HDQ = self.angle_3HDK @ attend.cosine_matrix_KQ
            if settings.even_third_axis:
                angle_3HDQ = even_in_third_axis(angle_3HDQ)
            angle_HQD = angle_3HDQ.permute(1, 0, 3, 2).flatten(1, 2)
            c_dist, c_ang = settings.distance_coefficient, settings.angle_coefficient
            psi_HND = c_dist * psi_HND + c_ang * torch.bmm(sums.cosines_HNQ, angle_HQD)
        return self.output((sums.values_NHD + psi_HND.transpose(0, 1)).flatten(1))

    def decay(self, q_NHD: Tensor) -> Tensor:
        """[N, H]: 1 / 2 sigma^2 = rho / 2 r0^2, rho = (1 - b) ELU(beta t / (1 - b)) + 1 (§4)."""
        settings = self.settings
        t_NH = (self.sigma_projection(q_NHD) + self.sigma_shift) * self.sigma_scale
        room = 1 - settings.rho_floor
        rho_NH = room * functional.elu(t_NH * (settings.rho_slope / room)) + 1
        return rho_NH / (2 * settings.r0_angstrom**2)

    def sigma_projection(self, q_NHD: Tensor) -> Tensor:
        """[N, H]: w^h . q_i^h, from which the width of the attention is computed (§4)."""
        return (q_NHD * self.sigma_weight_HD).sum(-1)

    def position_projections(self) -> list[Tensor]:
        """E0 and, with frames, E1, E2, E3: [H, D, K] each (§5)."""
        angles = [] if self.settings.frame == "none" else list(self.angle_3HDK)
        return [self.distance_HDK, *angles]
