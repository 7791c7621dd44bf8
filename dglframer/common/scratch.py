"""A table on disk for values that a stage must remember of every row."""

import sqlite3

SCRATCH_KIB = 16_384


def scratch_table(definition: str) -> sqlite3.Connection:
    """An empty SQLite table in a temporary file, which SQLite removes with the connection.

    It takes SCRATCH_KIB of memory; the rest is on disk.
    """
    database = sqlite3.connect("")
    database.execute("pragma journal_mode = off")
    database.execute(f"pragma cache_size = -{SCRATCH_KIB}")
    database.execute(f"create table {definition}")
    return database
