"""Random numbers that depend on the seed and the epoch only, so that a training can go on in another process."""

from __future__ import annotations

import random

import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras.src.backend import RandomGenerator

_SPREAD = 1_000_003


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for one epoch, counted from 0."""
    return (seed * _SPREAD + epoch) % 2**31


class RandomNumbers:
    """All random numbers that tf_keras draws in training.

    Dropout and other random layers are given generators whose state can be set: those that they have of their own
    count on inside the compiled step, where nothing reaches them. Random operations that a layer of the user's calls by
    itself (``tf.random.normal``) are out of reach.

    Args:
      model: is trained; its random layers draw from other generators from now on.
      seed: of the training.
    """

    def __init__(self, model: tf_keras.Model, seed: int) -> None:
        tf_keras.utils.set_random_seed(epoch_seed(seed, 0))
        self.seed = seed
        self.generators: list[tf.random.Generator] = []
        for layer in model._flatten_layers(include_self=False):
            drawn = getattr(layer, "_random_generator", None)
            if isinstance(drawn, RandomGenerator):
                drawn._rng_type = drawn.RNG_STATEFUL
                drawn._generator = tf.random.Generator.from_seed(0)
                drawn._built = True
                self.generators.append(drawn._generator)

    def start(self, epoch: int) -> None:
        """Starts them all anew for an epoch, but for TensorFlow's own seed: that would compile every step again."""
        seed = epoch_seed(self.seed, epoch)
        random.seed(seed)
        np.random.seed(seed)
        for number, generator in enumerate(self.generators):
            generator.reset_from_seed(seed + number * _SPREAD)
