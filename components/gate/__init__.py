"""Thresholds, metrics and the verdict."""
