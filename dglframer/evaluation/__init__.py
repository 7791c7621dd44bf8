"""What is done with trained models: errors on every split, predictions."""
