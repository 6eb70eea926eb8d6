"""Writes a trainable model into a Model artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_edge.models import layout
from tfx_edge.models.features import select_features

if TYPE_CHECKING:
    import keras
    import tf_keras


def save_trainable(model: keras.Model | tf_keras.Model, fn_args: Any) -> None:
    """Saves the model for the trainable components: the one line that a Trainer's ``run_fn`` gains.

    Writes ``Format-Keras/model.keras`` beside ``fn_args.serving_model_dir``. What the Trainer serves stays as it is.

    Args:
      model: a built Keras 3 or tf_keras model.
      fn_args: the ``FnArgs`` that ``run_fn`` received.
    """
    path = layout.keras_file(Path(fn_args.serving_model_dir).parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)


def save_stage(model: tf_keras.Model, model_uri: str | Path, steps: list[dict[str, Any]]) -> None:
    """Writes a whole trainable stage: ``Format-Keras``, and ``Format-Serving`` with a tensor signature.

    Args:
      model: a tf_keras Functional or Sequential model.
      model_uri: the Model artifact's uri.
      steps: every step from Trainer's model on, oldest first, this one included.
    """
    path = layout.keras_file(model_uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    layout.write_steps(model_uri, steps)
    save_serving(model, layout.serving_dir(model_uri))


def save_quantization_aware(
    model: tf_keras.Model, model_uri: str | Path, steps: list[dict[str, Any]], output_names: Sequence[str]
) -> None:
    """Writes a stage that went through quantization-aware training, which can only be converted: ``Format-Serving``.

    Beside ``serving_default`` there is a signature for batch 1: a recurrent layer does not convert from a batch of
    unknown size, and this model cannot be traced anew.

    Args:
      model: the model with simulated quantization.
      model_uri: the Model artifact's uri.
      steps: every step from Trainer's model on, oldest first, this one included.
      output_names: names of the outputs, in order, of the model that was quantized.
    """
    layout.write_steps(model_uri, steps)
    save_serving(model, layout.serving_dir(model_uri), output_names=output_names, fixed_batches=[1])


def save_serving(
    model: tf_keras.Model,
    directory: Path,
    batch_size: int | None = None,
    output_names: Sequence[str] | None = None,
    fixed_batches: Sequence[int] = (),
) -> None:
    """Writes a SavedModel whose signatures take one tensor per model input and return a dict of outputs.

    Args:
      model: a tf_keras or Keras 3 model with named inputs.
      directory: where the SavedModel goes.
      batch_size: the fixed first dimension of every input of ``serving_default``, or None for any.
      output_names: names of the outputs in order, where the model's own are not the ones to publish.
      fixed_batches: batch sizes that get a signature of their own, named by ``fixed_batch_signature``.
    """
    import tensorflow as tf

    names = output_names or model.output_names
    signatures = {"serving_default": _serving_function(model, batch_size, names)}
    for size in fixed_batches:
        signatures[fixed_batch_signature(size)] = _serving_function(model, size, names)
    module = tf.Module()
    module.variables_of_model = [*model.variables, *recurrent_states(model)]
    tf.saved_model.save(module, str(directory), signatures=signatures)


def fixed_batch_signature(batch_size: int) -> str:
    """The name of a SavedModel's signature for one batch size."""
    return f"batch_{batch_size}"


def _serving_function(model: tf_keras.Model, batch_size: int | None, output_names: Sequence[str]) -> Any:
    import tensorflow as tf

    specs = [
        tf.TensorSpec([batch_size, *tensor.shape[1:]], tensor.dtype, name=name)
        for name, tensor in zip(model_input_names(model), model.inputs, strict=True)
    ]

    @tf.function(input_signature=specs, autograph=False)
    def serve(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return named_outputs(model(pack_inputs(model, tensors), training=False), output_names)

    return serve


def recurrent_states(model: keras.Model | tf_keras.Model) -> list[Any]:
    """The variables in which recurrent layers made with ``stateful=True`` keep their state from call to call.

    tf_keras does not count them among the model's variables; Keras 3 does.
    """
    import tensorflow as tf

    layers = (layer for layer in getattr(model, "submodules", ()) if getattr(layer, "stateful", False))
    states = tf.nest.flatten([getattr(layer, "states", None) for layer in layers])
    return [state for state in states if isinstance(state, tf.Variable)]


def model_input_names(model: keras.Model | tf_keras.Model) -> list[str]:
    """Names of the model's inputs, in the order of ``model.inputs``."""
    if hasattr(model, "input_names"):
        return list(model.input_names)
    return [tensor.name for tensor in model.inputs]


def pack_inputs(model: keras.Model | tf_keras.Model, tensors: Sequence[Any]) -> Any:
    """Arranges tensors, given in the order of ``model.inputs``, as the structure that the model was built with."""
    import tensorflow as tf

    return tf.nest.pack_sequence_as(model.input, list(tensors))


def pack_features(model: keras.Model | tf_keras.Model, features: Mapping[str, Any]) -> Any:
    """Picks the model's inputs out of features by name, and arranges them likewise.

    Raises:
      DataError: an input has no feature of its name.
    """
    return pack_inputs(model, list(select_features(features, model_input_names(model)).values()))


def symbolic_outputs(model: tf_keras.Model) -> dict[str, Any]:
    """The tensors that the graph of a Functional or Sequential model gives, by the names of the outputs."""
    return named_outputs(model.output, model.output_names)


def named_outputs(outputs: Any, names: Sequence[str]) -> dict[str, Any]:
    """Gives each output its name: its key where the model returns a dict, else the next of ``names``."""
    if isinstance(outputs, dict):
        return outputs
    flat = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return dict(zip(names, flat, strict=True))
