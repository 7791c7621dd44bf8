"""The Python interface: what the package itself offers, by the same functions as the command line."""
