"""Magnitude pruning with a polynomial schedule.

Method: M. Zhu and S. Gupta, "To prune, or not to prune" (2017), as tensorflow-model-optimization implements it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tfx_edge.errors import ModelError

if TYPE_CHECKING:
    import tf_keras


def wrap(
    model: tf_keras.Model,
    *,
    initial_sparsity: float,
    final_sparsity: float,
    end_step: int,
    matches: Callable[[str], bool],
) -> tf_keras.Model:
    """Wraps every prunable layer, so that training zeroes its smallest weights step by step.

    Args:
      model: a tf_keras Functional or Sequential model.
      initial_sparsity: share of zeros at the first step, in [0, 1).
      final_sparsity: share of zeros from ``end_step`` on, in (0, 1).
      end_step: the training step at which the final sparsity is reached.
      matches: says by a layer's name whether it may be pruned.

    Raises:
      ModelError: no layer is prunable.
    """
    import tensorflow_model_optimization as tfmot
    import tf_keras

    schedule = tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=initial_sparsity,
        final_sparsity=final_sparsity,
        begin_step=0,
        end_step=end_step,
        frequency=max(1, end_step // 20),
    )
    wrapped: list[str] = []

    def clone(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        if not (matches(layer.name) and prunable_weights(layer)):
            return layer
        wrapped.append(layer.name)
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule)

    result = tf_keras.models.clone_model(model, clone_function=clone)
    if not wrapped:
        raise ModelError(
            f"nothing can be pruned: none of the layers {', '.join(layer.name for layer in model.layers)} "
            "has a kernel that pruning supports and a name that the layers pattern matches"
        )
    return result


def strip(model: tf_keras.Model) -> tf_keras.Model:
    """Removes the wrappers; the zeros stay."""
    import tensorflow_model_optimization as tfmot

    return tfmot.sparsity.keras.strip_pruning(model)


def step_callback() -> tf_keras.callbacks.Callback:
    """The callback without which the schedule never advances."""
    import tensorflow_model_optimization as tfmot

    return tfmot.sparsity.keras.UpdatePruningStep()


def prunable_weights(layer: tf_keras.layers.Layer) -> list[Any]:
    """The kernels of a layer that magnitude pruning supports; none for a layer it does not."""
    from tensorflow_model_optimization.python.core.sparsity.keras.prune_registry import PruneRegistry

    if not PruneRegistry.supports(layer):
        return []
    PruneRegistry.make_prunable(layer)
    return list(layer.get_prunable_weights())


def measure_sparsity(model: tf_keras.Model) -> dict[str, float]:
    """Share of exact zeros in the prunable weights of each layer, in [0, 1]."""
    shares = {}
    for layer in model.layers:
        values = [np.asarray(weight) for weight in prunable_weights(layer)]
        if values:
            shares[layer.name] = float(np.mean(np.concatenate([value.ravel() for value in values]) == 0.0))
    return shares


def check_sparsity(shares: dict[str, float], wanted: float, matches: Callable[[str], bool]) -> None:
    """Checks that pruning happened.

    Raises:
      ModelError: a layer that was to be pruned has clearly fewer zeros than asked.
    """
    for name, share in shares.items():
        if matches(name) and share < wanted - 0.02:
            raise ModelError(
                f"layer {name!r} ended at sparsity {share:.3f} where {wanted:.3f} was asked: train for more "
                f"epochs, or exclude it"
            )
