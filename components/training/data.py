"""What a model is trained and watched on."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfx_edge.training.reproducible import epoch_seed

if TYPE_CHECKING:
    import tensorflow as tf

SHUFFLE_BUFFER = 10_000
"""Examples among which the next one is drawn."""


@dataclass(frozen=True)
class TrainingData:
    """Labelled batches of both splits.

    Attributes:
      batches: one pass over the training split, always in the same order: (features, labels).
      validation: one pass over the eval split, or None when it is empty.
      steps: batches in one pass.
      batch_size: examples in a batch, the last one apart.
      seed: of the shuffling.
    """

    batches: tf.data.Dataset
    validation: tf.data.Dataset | None
    steps: int
    batch_size: int
    seed: int

    @functools.cached_property
    def _examples(self) -> tf.data.Dataset:
        return self.batches.unbatch()

    def epoch(self, number: int) -> tf.data.Dataset:
        """The shuffled batches of an epoch, counted from 0; the same number gives the same order in every process."""
        seed = epoch_seed(self.seed, number)
        shuffled = self._examples.shuffle(SHUFFLE_BUFFER, seed=seed, reshuffle_each_iteration=False)
        return shuffled.batch(self.batch_size).prefetch(1)
