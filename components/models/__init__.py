"""Trainable models: reading, carrying over, training and writing them."""
