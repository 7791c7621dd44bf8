"""The N-body experiment of the SE(3)-Transformer paper: simulate, train, evaluate, compare."""
