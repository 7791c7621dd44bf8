"""CIF files: a crystal is read as its rows and operators state it, or refused (docs/guide/reading.md)."""

from dglframer.data.sources.cif.reading import is_cif, read_cif

__all__ = ["is_cif", "read_cif"]
