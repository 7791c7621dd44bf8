"""For people: pages, plots and tables."""
