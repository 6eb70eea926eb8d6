"""Pruner: takes out of a model what matters least."""
