"""Keras 3 models as tf_keras models with the same weights."""
