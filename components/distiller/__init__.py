"""Distiller: a small student learns from Trainer's model."""
