"""Weights of a Keras 3 model assigned to a tf_keras model of the same architecture.

Both libraries list the weights of a layer, but of one that holds other layers tf_keras lists all trainable ones first
and Keras 3 layer by layer. Here both are walked layer by layer, down to the layers that own weights themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import tf_keras

from tfx_edge.errors import ModelError

Layer = Any  # of either library


@dataclass(frozen=True)
class _Owner:
    """A layer with the weights of its own; `path` holds names inside models and numbers inside layers."""

    path: tuple[str | int, ...]
    layer: Layer
    weights: list[Any]

    def __str__(self) -> str:
        shapes = [tuple(weight.shape) for weight in self.weights]
        return f"{'/'.join(map(str, self.path))!r} ({type(self.layer).__name__}, weights {shapes})"


def copy_weights_by_name(source: keras.Model, target: tf_keras.Model) -> None:
    """Fills a tf_keras model that the user built with the weights of the trained Keras 3 model.

    Layers are paired by name, nested models likewise, where both models have the same names; otherwise the layers that
    own weights are paired in order. Compare the outputs afterwards (`bridge.verify_equivalent`): two layers of equal
    shapes in another order go unnoticed here. A Normalization layer that `target` was given constants for keeps them.

    Args:
      source: the trained model, which may be subclassed.
      target: a built tf_keras model of the same architecture.

    Raises:
      ModelError: naming the first layer that has no counterpart or other shapes; `target` is then unchanged.
    """
    originals, rebuilt = list(_owners(source)), list(_owners(target))
    if not any(isinstance(owner.layer, tf_keras.layers.Normalization) for owner in rebuilt):
        originals = [owner for owner in originals if not isinstance(owner.layer, keras.layers.Normalization)]
    pairs = _by_name(originals, rebuilt)
    if pairs is None:
        originals, rebuilt = _once(originals), _once(rebuilt)
        pairs = list(zip(originals, rebuilt, strict=False))
    for original, counterpart in pairs:
        _check_shapes(original, counterpart)
    if len(originals) != len(rebuilt):
        longer, which = (originals, "trained") if len(originals) > len(rebuilt) else (rebuilt, "tf_keras")
        raise ModelError(
            f"layer {longer[len(pairs)]} of the {which} model has no counterpart: {len(originals)} layers of the "
            f"trained model own weights, {len(rebuilt)} of the tf_keras model. Make both architectures the same"
        )
    for original, counterpart in pairs:
        _assign(original, counterpart)


def _owners(layer: Layer, path: tuple[str | int, ...] = ()) -> Iterator[_Owner]:
    if own := _own_weights(layer):
        yield _Owner(path, layer, own)
    for number, child in enumerate(child for child in _children(layer) if child.weights):
        step = child.name if isinstance(layer, keras.Model | tf_keras.Model) else number
        yield from _owners(child, (*path, step))


def _once(owners: list[_Owner]) -> list[_Owner]:
    first: dict[int, _Owner] = {}
    for owner in owners:
        first.setdefault(id(owner.layer), owner)
    return list(first.values())


def _own_weights(layer: Layer) -> list[Any]:
    if isinstance(layer, keras.layers.Layer):
        return [*layer._trainable_variables, *layer._non_trainable_variables]
    return [*layer._trainable_weights, *layer._non_trainable_weights]


def _children(layer: Layer) -> list[Layer]:
    if isinstance(layer, keras.Model | tf_keras.Model):
        return layer.layers
    if isinstance(layer, keras.layers.Layer):
        return layer._layers
    return list(layer._flatten_layers(recursive=False, include_self=False))


def _by_name(originals: list[_Owner], rebuilt: list[_Owner]) -> list[tuple[_Owner, _Owner]] | None:
    named = {owner.path: owner for owner in rebuilt}
    if not len(named) == len(rebuilt) == len(originals) or named.keys() != {owner.path for owner in originals}:
        return None
    return [(owner, named[owner.path]) for owner in originals]


def _check_shapes(original: _Owner, counterpart: _Owner) -> None:
    wanted = [tuple(weight.shape) for weight in original.weights]
    if [tuple(weight.shape) for weight in counterpart.weights] != wanted:
        raise ModelError(
            f"layer {counterpart} of the tf_keras model does not fit layer {original} of the trained model: "
            "make both architectures the same"
        )


def _assign(original: _Owner, counterpart: _Owner) -> None:
    for weight, value in zip(counterpart.weights, original.weights, strict=True):
        weight.assign(keras.ops.convert_to_numpy(value))
    if isinstance(counterpart.layer, tf_keras.layers.Normalization):
        counterpart.layer.finalize_state()
