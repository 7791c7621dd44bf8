"""Checks of edges that are computed together."""

import torch

from dglframer.networks.se3_transformer.edges import Edges


def check_alike(edges: Edges) -> None:
    """Every edge is in one row, and the edges of a row have equal scalars and lengths, to rounding."""
    assert edges.alike_PD is not None
    row_X = torch.arange(len(edges.alike_PD)).repeat_interleave(edges.alike_PD.shape[1])
    places = {
        (int(edge), int(row)) for edge, row in zip(edges.alike_PD.flatten(), row_X, strict=True)
    }
    assert sorted(edge for edge, _ in places) == list(range(len(edges.src_E)))
    length_PD = edges.d_E3.norm(dim=-1)[edges.alike_PD]
    resolution = 8 * torch.finfo(length_PD.dtype).eps
    assert (length_PD.amax(1) - length_PD.amin(1)).max() <= 1.01 * resolution
    scalars_PDS = edges.scalars_ES[edges.alike_PD]
    assert scalars_PDS.equal(scalars_PDS[:, :1].expand_as(scalars_PDS))
