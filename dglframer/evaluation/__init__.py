"""Trained models at work: errors on every split, baselines, predictions."""
