"""Quantizer: fewer bits for weights and activations."""
