"""Weights and structure taken out of a model."""
