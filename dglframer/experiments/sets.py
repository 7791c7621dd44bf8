"""Networks of sets, [B, P, C] -> [B, P, C']: coordinates are plain numbers, the order of points is none."""

from itertools import pairwise

from torch import Tensor, nn


class DeepSet(nn.Module):
    """Zaheer et al. 2017: permutation-equivariant layers x_i -> relu(A x_i + B mean_j x_j)."""

    def __init__(self, inputs: int, outputs: int, width: int = 128, layers: int = 5):
        super().__init__()
        pairs = list(pairwise([inputs] + [width] * (layers - 1) + [outputs]))
        self.own = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)
        self.mean = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairs)

    def forward(self, x_BPC: Tensor) -> Tensor:
        x = x_BPC
        for k, (own, mean) in enumerate(zip(self.own, self.mean, strict=True)):
            x = own(x.relu() if k else x) + mean(x.relu() if k else x).mean(dim=1, keepdim=True)
        return x


class SetAttention(nn.Module):
    """Lee et al. 2019, "SAB": attention among all points, then a linear layer per point."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.alone = nn.Linear(width, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])

    def forward(self, x_BPC: Tensor) -> Tensor:
        attended, _ = self.attention(x_BPC, x_BPC, x_BPC, need_weights=False)
        x_BPC = self.norms[0](x_BPC + attended)
        return self.norms[1](x_BPC + self.alone(x_BPC).relu())


class SetTransformer(nn.Module):
    """Lee et al. 2019 without pooling: each point has an output."""

    def __init__(self, inputs: int, outputs: int, width: int = 64, heads: int = 4, blocks: int = 4):
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.blocks = nn.Sequential(*(SetAttention(width, heads) for _ in range(blocks)))
        self.leave = nn.Linear(width, outputs)

    def forward(self, x_BPC: Tensor) -> Tensor:
        return self.leave(self.blocks(self.enter(x_BPC)))
