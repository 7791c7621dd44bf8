"""The experiments of the SE(3)-Transformer paper that need no crystals, and what they share."""
