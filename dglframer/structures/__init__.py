"""One crystal: its record, neighbours, symmetry and periodic graph."""
