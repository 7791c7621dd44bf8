"""The objects experiment of the SE(3)-Transformer paper: classify objects, with and without gravity."""
