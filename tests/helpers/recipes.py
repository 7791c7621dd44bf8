"""The recipe of the CrystalFramer paper, for tests of its optimiser, rates and averages."""

PAPER = {"optimizer": "adamw", "learning_rate": 5e-4, "schedule": "inverse_sqrt"}
