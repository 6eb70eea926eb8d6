"""Implicit masks where Keras 3 passes them on otherwise than tf_keras.

A mask (of padding, mostly) travels along with a tensor in both libraries, but in Keras 3 `MultiHeadAttention` takes the
masks off its inputs for every layer that runs after it, and a sum or another merge of tensors has a mask only if all of
them have one. So in the usual residual block ``x + attention(x, x)`` the mask ends there; in tf_keras it does not. The
rebuilt model has to do what the original did when it was trained.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

_MERGES = (
    keras.layers.Add,
    keras.layers.Average,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Subtract,
)


def is_masked(tensor: Any) -> bool:
    """Whether a tf_keras symbolic tensor carries a mask."""
    return getattr(tensor, "_keras_mask", None) is not None


class MaskKeeper:
    """Follows the masks of tf_keras symbolic tensors through the calls of a graph, in the order of the calls."""

    def __init__(self) -> None:
        self._taken_off: dict[int, Any] = {}
        self._plain: dict[int, Any] = {}

    def before(self, source: keras.layers.Layer, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call with the masks that they have when Keras 3 calls `source`."""
        arguments = keras.tree.map_structure(
            lambda x: self._without_mask(x) if id(x) in self._taken_off else x, arguments
        )
        tensors = keras.tree.flatten(arguments)
        if isinstance(source, _MERGES) and not all(map(is_masked, tensors)):
            return keras.tree.map_structure(self._without_mask, arguments)
        if isinstance(source, keras.layers.MultiHeadAttention):
            self._taken_off.update({id(x): x for x in tensors if is_masked(x)})
        return arguments

    def _without_mask(self, tensor: Any) -> Any:
        if not is_masked(tensor):
            return tensor
        if id(tensor) not in self._plain:
            self._plain[id(tensor)] = tf.identity(tensor)
        return self._plain[id(tensor)]
