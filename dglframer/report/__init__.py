"""Output for people: pages, plots and tables."""
