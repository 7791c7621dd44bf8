"""Attention on a CPU, compiled by numba."""
