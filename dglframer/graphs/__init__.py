"""From crystals.parquet to shards of graphs, and from shards to batches."""
