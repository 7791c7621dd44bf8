"""One training, from a network to a trained network, to the same bits."""
