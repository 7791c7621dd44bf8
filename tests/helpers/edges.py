"""Checks of edges and their reverses."""

import torch

from dglframer.networks.se3_transformer.edges import Edges


def check_twins(edges: Edges) -> None:
    """Every edge is in one pair, beside its reverse of equal scalars."""
    one, other = edges.twins_P2.T
    assert torch.cat([one, other]).sort().values.equal(torch.arange(len(edges.src_E)))
    assert edges.src_E[one].equal(edges.dst_E[other]) and edges.dst_E[one].equal(edges.src_E[other])
    assert edges.d_E3[one].equal(-edges.d_E3[other])
    assert edges.scalars_ES[one].equal(edges.scalars_ES[other])
