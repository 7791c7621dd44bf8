"""What people read: pages, plots and tables."""
