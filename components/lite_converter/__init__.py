"""LiteConverter: a trainable model becomes a .tflite."""
