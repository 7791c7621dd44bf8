"""What a network knows of an atom before it has seen its surroundings."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dglframer.common.element_properties import property_table
from dglframer.common.elements import MAX_Z


class ElementEmbedding(nn.Embedding):
    """A learned vector of each element, and what its properties add to it.

    Elements that are alike begin alike, and one that training has not seen is placed among its neighbours
    in the periodic table. The table of properties is stored with the weights: a later version of this
    package may have another one.
    """

    properties_ZP: Tensor

    def __init__(self, width: int, with_properties: bool):
        super().__init__(MAX_Z, width)
        self.with_properties = with_properties
        if with_properties:
            properties_ZP = torch.tensor(property_table(), dtype=torch.float32)
            self.register_buffer("properties_ZP", properties_ZP)
            self.property_weight_PW = nn.Parameter(torch.empty(properties_ZP.shape[1], width))
            self.draw_properties(1.0)

    def draw_properties(self, std: float, generator: torch.Generator | None = None) -> None:
        """Draw the weights of the properties; ``std``: about that of what they add to a vector."""
        if self.with_properties:
            scaled = std * len(self.property_weight_PW) ** -0.5
            nn.init.normal_(self.property_weight_PW, 0.0, scaled, generator)

    def forward(self, index_N: Tensor) -> Tensor:
        """[N, W]; ``index_N``: atomic numbers from 0."""
        if not self.with_properties:
            return super().forward(index_N)
        table_ZW = self.weight + self.properties_ZP @ self.property_weight_PW
        return functional.embedding(index_N, table_ZW)
