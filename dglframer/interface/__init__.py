"""The Python interface: what ``import dglframer`` offers, by the same functions as the command line."""
