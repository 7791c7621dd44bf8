"""Attention on a GPU, compiled by Triton."""
