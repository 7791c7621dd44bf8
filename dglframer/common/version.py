"""The version, for modules that the package's own ``__init__`` leads to."""

__version__ = "0.2.0"
