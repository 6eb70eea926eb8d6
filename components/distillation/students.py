"""Derives an untrained student from a teacher: the same network, narrower or with fewer repeated blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf
import tf_keras
from tf_keras.src.engine.base_preprocessing_layer import PreprocessingLayer

from tfx_edge.distillation.blocks import superfluous
from tfx_edge.distillation.settings import Derivation
from tfx_edge.errors import ModelError
from tfx_edge.models.graph_copy import Layer, remade, replay, unfold

_SIZES = ("filters", "units", "output_dim", "key_dim")
_STEP = 8
"""XNNPACK computes channels in steps; widths between two of them cost as much as the wider one."""


def derive(teacher: tf_keras.Model, how: Derivation) -> tf_keras.Model:
    """A student with fresh weights, and the teacher's inputs and outputs, names included.

    Layers of the student have the names they have in the teacher; those of models inside the teacher take their place.
    What preprocessing layers have learned (``Normalization``), and frozen layers, are copied as they are.

    Args:
      teacher: a Functional or Sequential model.
      how: what the student keeps; nothing in it makes an architecture like the teacher's.

    Raises:
      ModelError: a layer cannot be scaled, or there is nothing to scale or to drop.
    """
    graph = unfold(teacher)
    if how.depth is not None:
        graph = _shallower(graph, how.depth)
    student = _rebuilt(graph, how.width)
    return _same_signature(teacher, student)


def scaled(size: int, width: float) -> int:
    """A share of a number of units, at least 1; above 8 the nearest multiple of 8, or as they were."""
    wanted = size * width
    return max(1, round(wanted)) if wanted <= _STEP else min(size, _STEP * round(wanted / _STEP))


def _shallower(model: tf_keras.Model, depth: float) -> tf_keras.Model:
    dropped = superfluous(model, depth)
    return replay(model, lambda layer, args, kwargs: _first(args) if layer.name in dropped else layer(*args, **kwargs))


def _first(args: Any) -> Any:
    return tf.nest.flatten(args)[0]


def _rebuilt(model: tf_keras.Model, width: float | None) -> tf_keras.Model:
    kept = _output_layers(model)
    copies: dict[str, Layer] = {}
    narrower: list[str] = []

    def made(layer: Layer) -> Layer:
        changes = {} if width is None or layer.name in kept or _is_fixed(layer) else _narrowed(layer, width)
        config = layer.get_config()
        if any(config[key] != value for key, value in changes.items()):
            narrower.append(layer.name)
        return remade(layer, **changes)

    def call(layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        first = layer.name not in copies
        if first:
            copies[layer.name] = made(layer)
        try:
            outputs = copies[layer.name](*args, **kwargs)
            if first and _is_fixed(layer):
                copies[layer.name].set_weights(layer.get_weights())
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            raise ModelError(
                f"the student cannot be derived: layer {layer.name!r} ({type(layer).__name__}) does not fit its "
                f"narrower inputs: {str(error).splitlines()[0]} Define build_student_fn(fn_args) instead of student"
            ) from error
        return outputs

    student = replay(model, call)
    if width is not None and not narrower:
        names = ", ".join(layer.name for layer in model.layers)
        raise ModelError(f"width {width:g} changes nothing: none of the layers {names} has hidden units or filters")
    return student


def _narrowed(layer: Layer, width: float) -> dict[str, Any]:
    """What changes in a layer's configuration; nothing where it has no width of its own."""
    config = layer.get_config()
    if isinstance(layer, tf_keras.layers.Wrapper):
        return {
            key: {**config[key], "config": {**config[key]["config"], **_sizes(config[key]["config"], width)}}
            for key in ("layer", "backward_layer")
            if config.get(key) and _sizes(config[key]["config"], width)
        }
    if isinstance(layer, tf_keras.layers.RNN) and "cell" in config:
        raise ModelError(
            f"layer {layer.name!r} ({type(layer).__name__}) cannot be scaled: its cell is one of its own. Define "
            "build_student_fn(fn_args) instead of student"
        )
    return _sizes(config, width)


def _sizes(config: dict[str, Any], width: float) -> dict[str, int]:
    return {key: scaled(config[key], width) for key in _SIZES if type(config.get(key)) is int}


def _is_fixed(layer: Layer) -> bool:
    return bool(layer.weights) and (isinstance(layer, PreprocessingLayer) or not layer.trainable)


def _output_layers(model: tf_keras.Model) -> set[str]:
    """Layers that give the outputs their size: the first with a size of its own on each way back from an output."""
    found: set[str] = set()
    seen: set[int] = set()
    waiting: list[Any] = list(model.outputs)
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        history = tensor._keras_history
        if _narrowed_safely(history.layer):
            found.add(history.layer.name)
        elif not isinstance(history.layer, tf_keras.layers.InputLayer):
            waiting += history.layer.inbound_nodes[history.node_index].keras_inputs
    return found


def _narrowed_safely(layer: Layer) -> bool:
    return isinstance(layer, (tf_keras.layers.RNN, tf_keras.layers.Bidirectional)) or bool(_narrowed(layer, 0.5))


def _same_signature(teacher: tf_keras.Model, student: tf_keras.Model) -> tf_keras.Model:
    """The student with the teacher's structure and names of outputs.

    Raises:
      ModelError: an output has another shape.
    """
    pairs = list(zip(teacher.output_names, teacher.outputs, student.outputs, strict=True))
    wrong = [f"{name} {tuple(a.shape)} became {tuple(b.shape)}" for name, a, b in pairs if a.shape != b.shape]
    if wrong:
        raise ModelError(
            f"the student cannot be derived: {'; '.join(wrong)}. Define build_student_fn(fn_args) instead of student"
        )
    inputs = tf.nest.pack_sequence_as(teacher.input, student.inputs)
    ends = _named_ends(teacher.output_names, student.output_names, student.outputs)
    return tf_keras.Model(inputs, tf.nest.pack_sequence_as(teacher.output, ends), name=teacher.name)


def _named_ends(wanted: Sequence[str], found: Sequence[str], tensors: Iterable[Any]) -> list[Any]:
    """The tensors, behind a layer of the wanted name where an output took another one's."""
    return [
        tensor if name == own else tf_keras.layers.Activation("linear", name=name)(tensor)
        for name, own, tensor in zip(wanted, found, tensors, strict=True)
    ]
