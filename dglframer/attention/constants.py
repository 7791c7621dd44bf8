"""Numbers that every backend of the attention keeps to."""

import torch

# Images closer than this (squared angstrom) are the atom itself: they have no direction. Two atoms of a
# crystal are never so close (``structures.crystal``).
SELF_DISTANCE_SQUARED = 1e-5

ALONG_AXIS = 0.9999  # images with |cos| to the first axis of this or more give no second axis

# Tied axes are the same if what tells them apart differs by less: components of unit vectors, and means
# of powers of cosines. It is a few roundings of the type.
SAME_AXIS = {torch.float32: 1e-6, torch.float64: 1e-11}


def negligible_gap(dtype: torch.dtype) -> float:
    """How far below the atom's largest a log weight is negligible, if it is so in every head."""
    return 18.5 if dtype == torch.float32 else 41.5  # weights of 1e-8 and 1e-18
