"""Recipes, calibration, and post-training quantization of a `.tflite`."""
