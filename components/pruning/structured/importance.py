"""How much each channel matters, so that the least important ones go.

A channel that is tied to others goes with them, so their figures are added up.

Methods: the L1 norm of filters, H. Li et al., "Pruning Filters for Efficient ConvNets" (2017); the scale of batch
normalization, Z. Liu et al., "Learning Efficient Convolutional Networks through Network Slimming" (2017); the geometric
median, Y. He et al., "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks Acceleration" (2019),
by the sum of distances to the other filters; first-order Taylor, P. Molchanov et al., "Importance Estimation for Neural
Network Pruning" (2019), with a gate on each channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfx_edge.errors import ConfigError, DataError
from tfx_edge.pruning.structured.dependencies import Structure
from tfx_edge.pruning.structured.tracks import Slice

Loss = Callable[[Any, Any], Any]
"""Takes labels and outputs of a batch; returns its loss."""


@dataclass(frozen=True)
class Importance:
    """Figures of all groups.

    Attributes:
      scores: by number of the group, at least 0; those of a block add up to 1.
      instead: for each layer of which the wanted figure is not known, what was taken instead.
    """

    scores: np.ndarray
    instead: dict[str, str]


def importance(
    model: tf_keras.Model,
    structure: Structure,
    kind: str,
    batches: Iterable[tuple[Any, Any]] | None = None,
    loss: Loss | None = None,
) -> Importance:
    """Scores the groups of a model.

    The scores of a block are divided by their sum: what is compared between layers is the share of a layer's importance
    that is lost.

    Args:
      model: whose channels they are.
      structure: of the model.
      kind: as in the settings.
      batches: features, as the model takes them, and labels; for ``"taylor"``.
      loss: for ``"taylor"``.

    Raises:
      ConfigError: there is no loss for ``"taylor"``.
      DataError: there are no batches for it.
    """
    if kind == "taylor":
        if loss is None:
            raise ConfigError("importance 'taylor' needs the loss that the model is trained with")
        scores = _taylor(model, structure, batches or (), loss)
        instead = {}
    else:
        scores = _of_weights(model, structure, kind, "scale" if kind == "batch_norm" else "filter")
        instead = _without_scale(model, structure, scores) if kind == "batch_norm" else {}
    return Importance(_compared(structure, scores), instead)


def _of_weights(model: tf_keras.Model, structure: Structure, kind: str, role: str) -> np.ndarray:
    found = np.zeros(structure.groups)
    for part in structure.slices:
        if part.role == role:
            figures = _FIGURES[kind](_rows(_weight(model, part), part.axis))
            np.add.at(found, structure.group_of[part.track], figures)
    return found


def _without_scale(model: tf_keras.Model, structure: Structure, scores: np.ndarray) -> dict[str, str]:
    """Fills in the L2 norms where no batch normalization scales the channels of a block; says where."""
    norms = _of_weights(model, structure, "l2", "filter")
    instead = {}
    for block in structure.blocks:
        if not np.any(scores[block.groups]):
            scores[block.groups] = norms[block.groups]
            instead.update(dict.fromkeys(block.layers, "l2"))
    return instead


def _taylor(model: tf_keras.Model, structure: Structure, batches: Iterable[tuple[Any, Any]], loss: Loss) -> np.ndarray:
    """The mean over batches of the squared derivative of the loss by a gate on each channel.

    A gate before all layers that take a channel up is as good as a factor on what they multiply it with, so its
    derivative is the sum of gradient times weight over those.
    """
    parts = [part for part in structure.slices if part.role == "input"]
    weights = [_variable(model, part) for part in parts]

    @tf.function(autograph=False, reduce_retracing=True)
    def gates(features: Any, labels: Any) -> list[tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            value = loss(labels, model(features, training=False))
        gradients = tape.gradient(value, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [
            tf.reduce_sum(weight * gradient, [axis for axis in range(len(weight.shape)) if axis != part.axis])
            for part, weight, gradient in zip(parts, weights, gradients, strict=True)
        ]

    found, number = np.zeros(structure.groups), 0
    for features, labels in batches:
        derivative = np.zeros(structure.groups)
        for part, values in zip(parts, gates(features, labels), strict=True):
            np.add.at(derivative, structure.group_of[part.track], values.numpy())
        found += np.square(derivative)
        number += 1
    if not number:
        raise DataError("importance 'taylor' needs training examples, and there are none")
    return found / number


def _compared(structure: Structure, scores: np.ndarray) -> np.ndarray:
    found = np.zeros_like(scores)
    for block in structure.blocks:
        total = scores[block.groups].sum()
        found[block.groups] = scores[block.groups] / total if total > 0 else 1 / len(block.groups)
    return found


def _variable(model: tf_keras.Model, part: Slice) -> Any:
    return model.get_layer(part.layer).weights[part.weight]


def _weight(model: tf_keras.Model, part: Slice) -> np.ndarray:
    return np.asarray(_variable(model, part), np.float64)


def _rows(values: np.ndarray, axis: int) -> np.ndarray:
    """As a matrix with a row for each position along an axis."""
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


def _distances(rows: np.ndarray) -> np.ndarray:
    squares = np.sum(np.square(rows), axis=1)
    between = squares[:, None] + squares[None] - 2 * rows @ rows.T
    return np.sqrt(np.maximum(between, 0)).sum(axis=1)


_FIGURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "l1": lambda rows: np.abs(rows).sum(axis=1),
    "l2": lambda rows: np.sqrt(np.square(rows).sum(axis=1)),
    "batch_norm": lambda rows: np.abs(rows).sum(axis=1),
    "geometric_median": _distances,
}
