"""Several models on the same inputs, and a function of their outputs, as one model: y = f(m1(x), ..., mN(x))."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from tfx_edge.errors import ConfigError, ModelError, UserCodeError
from tfx_edge.models import saving
from tfx_edge.models.graph_copy import is_graph

KL = tf_keras.layers
MergeFn = Callable[[list[Any]], Any]
_LAYERS = {"add": KL.Add, "average": KL.Average, "concat": KL.Concatenate, "maximum": KL.Maximum}


def compose(
    models: Sequence[tf_keras.Model],
    function: str = "average",
    weights: Sequence[float] | None = None,
    merge_fn: MergeFn | None = None,
) -> tf_keras.Model:
    """One model of several, with all their layers as they are.

    Args:
      models: Functional or Sequential models of tf_keras that take the same inputs. One alone stays as it is, unless
        there is a ``merge_fn``.
      function: ``add``, ``average``, ``concat`` (of the last axis) or ``maximum``, output by output.
      weights: of the models in an average; they need not add up to 1.
      merge_fn: instead of all that: takes the list of the models' symbolic outputs and returns what it makes of them.

    Returns:
      A model with the input and output names of the first one.

    Raises:
      ModelError: the models do not fit each other, or one is subclassed.
      ConfigError: there are not as many weights as models, or there are some for a single model.
      UserCodeError: ``merge_fn`` returned no tensors of its arguments.
    """
    labels = [f"model {number}" for number in range(1, len(models) + 1)]
    for model, label in zip(models, labels, strict=True):
        if not is_graph(model):
            raise ModelError(
                f"{label} ({type(model).__name__}) is not a Functional or Sequential model, so its layers are not "
                "known: define build_model_fn(fn_args) in the module file, which returns one"
            )
    for model, label in zip(models[1:], labels[1:], strict=True):
        _check_inputs(models[0], model, label)
        if not merge_fn:
            _check_outputs(models[0], model, label, function)
    if weights is not None and len(models) == 1:
        raise ConfigError(f"weights {[*weights]} are of several models, and there is one: leave weights out")
    if weights is not None and len(weights) != len(models):
        raise ConfigError(f"weights has {len(weights)} numbers for {len(models)} models: give one for each, in order")
    if len(models) == 1 and not merge_fn:
        return models[0]
    first = models[0]
    inputs = {
        name: tf_keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)
        for name, tensor in zip(first.input_names, first.inputs, strict=True)
    }
    outputs = []
    for number, model in enumerate(models, 1):
        wrapped = tf_keras.Model(model.input, model.output, name=f"model_{number}")
        outputs.append(wrapped(saving.pack_inputs(model, [inputs[name] for name in model.input_names])))
    merged = _by_user(merge_fn, outputs, first) if merge_fn else _by_layer(function, weights, outputs, first)
    return tf_keras.Model(tf.nest.pack_sequence_as(first.input, list(inputs.values())), merged, name="merged")


def _by_layer(function: str, weights: Sequence[float] | None, outputs: list[Any], first: tf_keras.Model) -> Any:
    merged = []
    for name, *tensors in zip(first.output_names, *(tf.nest.flatten(output) for output in outputs), strict=True):
        if weights is None:
            merged.append(_LAYERS[function](name=name)(tensors))
            continue
        shares = [weight / sum(weights) for weight in weights]
        scaled = [KL.Rescaling(share)(tensor) for share, tensor in zip(shares, tensors, strict=True)]
        merged.append(KL.Add(name=name)(scaled))
    return tf.nest.pack_sequence_as(first.output, merged)


def _by_user(merge_fn: MergeFn, outputs: list[Any], first: tf_keras.Model) -> Any:
    made = merge_fn(outputs)
    tensors = tf.nest.flatten(made)
    if not tensors or not all(hasattr(tensor, "_keras_history") for tensor in tensors):
        raise UserCodeError(
            f"merge_fn returned {made!r}; it must return what tf_keras layers or TensorFlow functions make of its "
            "argument"
        )
    if len(tensors) == len(first.output_names) == 1:
        return tf.nest.map_structure(KL.Activation("linear", name=first.output_names[0], dtype=tensors[0].dtype), made)
    return made


def _check_inputs(first: tf_keras.Model, other: tf_keras.Model, label: str) -> None:
    wanted, found = (
        {name: _kind(tensor) for name, tensor in zip(model.input_names, model.inputs, strict=True)}
        for model in (first, other)
    )
    if wanted != found:
        raise ModelError(
            f"models that are merged take the same inputs, but model 1 takes {_listed(wanted)} and {label} takes "
            f"{_listed(found)}: name the inputs alike and give them equal shapes"
        )


def _check_outputs(first: tf_keras.Model, other: tf_keras.Model, label: str, function: str) -> None:
    names = first.output_names, other.output_names
    if _keys(first) is None and names[0] != names[1] and sorted(names[0]) == sorted(names[1]):
        raise ModelError(
            f"model 1 gives the outputs {', '.join(names[0])} and {label} gives {', '.join(names[1])}: put them in one "
            "order, or write a merge_fn"
        )
    wanted, found = (
        [
            (tensor.dtype.name, *tensor.shape[1 : -1 if function == "concat" else None])
            for tensor in tf.nest.flatten(model.output)
        ]
        for model in (first, other)
    )
    if wanted != found or _keys(first) != _keys(other):
        told = [", ".join(map(_kind, tf.nest.flatten(model.output))) for model in (first, other)]
        raise ModelError(
            f"{function} needs models of equal outputs, but model 1 gives {told[0]} and {label} gives {told[1]}: train "
            "them alike, or write a merge_fn"
        )


def _kind(tensor: Any) -> str:
    return f"{tensor.dtype.name} {tuple(tensor.shape[1:])}"


def _keys(model: tf_keras.Model) -> list[str] | None:
    return sorted(model.output) if isinstance(model.output, dict) else None


def _listed(inputs: dict[str, str]) -> str:
    return ", ".join(f"{name!r} ({kind})" for name, kind in sorted(inputs.items()))
