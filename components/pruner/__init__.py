"""Pruner: zeroes the weights that matter least."""
