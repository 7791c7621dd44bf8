"""Many trainings: the Optuna study and its workers."""
