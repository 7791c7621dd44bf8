"""dglframer: crystal properties from periodic graphs with CrystalFramer."""

__version__ = "0.1.0"
