"""Attention as edge operations of DGL or torch: the definition, which runs anywhere."""
