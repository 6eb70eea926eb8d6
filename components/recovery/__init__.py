"""Accuracy that quantization cost, won back."""
