"""Whole filters, channels and units taken out of a model, so that a smaller dense one is left."""
