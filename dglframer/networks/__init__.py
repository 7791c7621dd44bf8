"""From a batch to properties: the encoders, and how a trained one is stored."""
