"""From a source to crystals.parquet, its checks and its split."""
