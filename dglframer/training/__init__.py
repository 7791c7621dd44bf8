"""One training, repeatable to the bit, from a network to a trained model."""
