"""The use of trained models: errors on every split, predictions, plans of a comparison."""
