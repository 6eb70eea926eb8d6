"""The graph of a Keras 3 model run once with tf_keras symbolic tensors, which rebuilds it in tf_keras."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import tf_keras
from keras.src.models.functional import Functional

from tfx_edge.bridge.layers import rebuild_layer
from tfx_edge.bridge.masks import MaskKeeper, is_masked
from tfx_edge.bridge.ops import rebuild_op
from tfx_edge.errors import ModelError

WAY_OUT = (
    "define build_model_fn(fn_args) in the module file, returning an equivalent tf_keras model, "
    "whose weights are then loaded from the saved model"
)


class GraphRebuilder:
    """Rebuilds models, without their weights; what is shared in the original is shared in the rebuilt model."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}
        self._masks = MaskKeeper()

    def model(self, source: keras.Model) -> tf_keras.Model:
        """Rebuilds a Sequential or Functional model under its name.

        Raises:
          ModelError: naming the layer that cannot be carried over, why, and the way out.
        """
        if isinstance(source, keras.Sequential) and type(source).call is keras.Sequential.call:
            rebuilt = self._sequential(source)
        elif isinstance(source, Functional) and type(source).call is Functional.call:
            rebuilt = self._functional(source)
        else:
            raise _refused(source, "it is a subclassed model, whose call is Python code")
        if not source.trainable:
            rebuilt.trainable = False
        return rebuilt

    def layer(self, source: keras.layers.Layer) -> tf_keras.layers.Layer:
        """Rebuilds a layer, or a model used as one; asked again, returns the same.

        Raises:
          ModelError: naming the layer that cannot be carried over, why, and the way out.
        """
        if id(source) not in self._made:
            if isinstance(source, keras.Model):
                self._made[id(source)] = self.model(source)
            else:
                self._made[id(source)] = _or_refused(source, lambda: rebuild_layer(source, self.layer))
        return self._made[id(source)]

    def _sequential(self, source: keras.Sequential) -> tf_keras.Sequential:
        try:
            (tensor,) = source.inputs
        except AttributeError:
            raise _refused(
                source, "it is not built, so the shape of its input is unknown: put a keras.Input first"
            ) from None
        layers = [_input(tensor), *(self.layer(layer) for layer in source.layers)]
        return _or_refused(source, lambda: tf_keras.Sequential(layers, name=source.name))

    def _functional(self, source: Functional) -> tf_keras.Model:
        inputs = keras.tree.map_structure(_input, source.input)
        outputs = source._run_through_graph(inputs, operation_fn=self._operation)
        return _or_refused(source, lambda: tf_keras.Model(inputs, outputs, name=source.name))

    def _operation(self, source: keras.Operation) -> Callable[..., Any]:
        if isinstance(source, keras.layers.Layer):
            layer = self.layer(source)
            return lambda *args, **kwargs: self._call(source, layer, args, kwargs)
        if id(source) not in self._made:
            self._made[id(source)] = _or_refused(source, lambda: rebuild_op(source))
        return lambda *args, **kwargs: _or_refused(source, lambda: self._made[id(source)](*args, **kwargs))

    def _call(
        self, source: keras.layers.Layer, layer: tf_keras.layers.Layer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        names = list(inspect.signature(source.call).parameters)
        arguments = {**dict(zip(names, args, strict=False)), **kwargs}
        arguments = self._masks.before(source, {name: value for name, value in arguments.items() if value is not None})
        understood = inspect.signature(layer.call).parameters
        for name in [name for name in arguments if name != names[0] and name not in understood]:
            if not _is_implied(source, name, arguments):
                raise _refused(source, f"it is called with {name}, which the layer of tf_keras does not take")
            del arguments[name]
        first = arguments.pop(names[0])
        return _or_refused(source, lambda: layer(first, **arguments))


def _input(tensor: keras.KerasTensor) -> Any:
    batch, *shape = tensor.shape
    return tf_keras.Input(shape, batch, name=tensor.name, dtype=tensor.dtype, sparse=tensor.sparse)


def _is_implied(source: keras.layers.Layer, name: str, arguments: dict[str, Any]) -> bool:
    """Whether tf_keras finds a mask by itself: on the tensor that it belongs to, or not at all at inference."""
    if isinstance(source, keras.layers.BatchNormalization):
        return name == "mask"
    return is_masked(arguments.get(name.removesuffix("_mask")))


def _or_refused(source: keras.Operation, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except (ValueError, TypeError, NotImplementedError, AttributeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        # tf_keras puts the reason below a line that only tells which layer was called.
        raise _refused(source, lines[1] if len(lines) > 1 and lines[0].startswith("Exception") else lines[0]) from error


def _refused(source: keras.Operation, why: str) -> ModelError:
    return ModelError(
        f"layer {source.name!r} ({type(source).__name__}) cannot be carried over to tf_keras: {why}. "
        f"The way out: {WAY_OUT}"
    )
