"""Inputs for a model where there are no examples."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras


def random_batch(model: tf_keras.Model, size: int, seed: int) -> dict[str, np.ndarray]:
    """A seeded batch: floats normally distributed, integers 0 or 1, texts of one of two characters.

    Args:
      model: a Functional or Sequential model; an open dimension becomes 8.
      size: examples in the batch.
      seed: of the random numbers.

    Returns:
      Arrays by the name of the input, the first dimension the batch.
    """
    generator = np.random.default_rng(seed)
    batch = {}
    for name, tensor in zip(model.input_names, model.inputs, strict=True):
        shape = [size, *(length or 8 for length in tensor.shape[1:])]
        if tensor.dtype.is_floating:
            batch[name] = generator.normal(size=shape).astype(tensor.dtype.as_numpy_dtype)
        else:
            ones = generator.integers(0, 2, shape)
            batch[name] = ones.astype(str) if tensor.dtype == tf.string else ones.astype(tensor.dtype.as_numpy_dtype)
    return batch
