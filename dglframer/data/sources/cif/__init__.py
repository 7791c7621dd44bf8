"""CIF files, by what they say and nothing else. ``docs/guide/reading.md`` has the rules as a table."""

from dglframer.data.sources.cif.reading import is_cif, read_cif

__all__ = ["is_cif", "read_cif"]
