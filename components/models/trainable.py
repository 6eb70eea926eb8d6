"""Reads a trainable model from a Model artifact as a clean tf_keras model.

tensorflow-model-optimization works on tf_keras models, so that is what every trainable stage works on. Where the model
comes from, first match wins: the user's ``build_model_fn`` plus the saved weights, ``Format-Keras/model.keras`` (which
goes through the bridge when Keras 3 wrote it), then a SavedModel that tf_keras wrote.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfx_edge.bridge import bridge
from tfx_edge.errors import ModelError, UserCodeError
from tfx_edge.models import features, layout, saving
from tfx_edge.models.random_inputs import random_batch

if TYPE_CHECKING:
    import tf_keras

Batches = Iterable[dict[str, np.ndarray]]

_EXAMPLES = 8
SAVE_HINT = (
    "call tfx_edge.save_trainable(model, fn_args) in the Trainer's run_fn, "
    "or define build_model_fn(fn_args) in the module file"
)


def load_trainable(
    model_uri: str | Path, samples: Batches = (), build_model: Callable[[], tf_keras.Model] | None = None
) -> tf_keras.Model:
    """Loads the model of a trainable stage.

    Args:
      model_uri: the Model artifact's uri.
      samples: batches of features (name to array, first dimension the batch) on which a model that was carried over is
        compared with the original; random inputs take their place when there are none.
      build_model: makes the model's architecture in tf_keras, where the user's module does.

    Returns:
      A tf_keras Functional or Sequential model, not compiled.

    Raises:
      ModelError: nothing trainable is there, it cannot be carried over, or its outputs differ after it was.
      UserCodeError: ``build_model`` returned something that is no tf_keras model.
    """
    path = layout.keras_file(model_uri)
    if build_model:
        return _from_user(build_model(), model_uri, samples)
    if path.is_file():
        if bridge.keras_version(path).startswith("2."):
            import tf_keras

            return tf_keras.models.load_model(path, compile=False)
        original = bridge.load_keras3(path)
        model = bridge.to_tf_keras(original)
        batches = samples or [random_batch(model, _EXAMPLES, seed=0)]
        bridge.verify_equivalent(original, model, [saving.pack_features(model, batch) for batch in batches])
        return model
    if (layout.serving_dir(model_uri) / "keras_metadata.pb").is_file():
        return _from_saved_model(layout.serving_dir(model_uri))
    if layout.steps_json(model_uri).is_file():
        raise ModelError(
            f"{model_uri} went through quantization-aware training and can only be converted: put this step before it"
        )
    raise ModelError(f"{model_uri} holds no trainable model (no Format-Keras/model.keras): {SAVE_HINT}")


def _from_saved_model(directory: Path) -> tf_keras.Model:
    import tf_keras

    loaded = tf_keras.models.load_model(directory, compile=False)
    if not getattr(loaded, "inputs", None):
        raise ModelError(f"the SavedModel in {directory} is not a Functional or Sequential model: {SAVE_HINT}")
    return tf_keras.Model(loaded.input, loaded.output)


def _from_user(model: Any, model_uri: str | Path, samples: Batches) -> tf_keras.Model:
    """Fills the user's architecture with the saved weights, and compares it with the SavedModel where that takes
    tensors; where it takes strings, the weights must agree layer by layer in names and shapes."""
    import tf_keras

    if not isinstance(model, tf_keras.Model) or not getattr(model, "inputs", None):
        raise UserCodeError(
            f"build_model_fn returned {type(model).__module__}.{type(model).__name__}; it must return a "
            f"tf_keras Functional or Sequential model"
        )
    signature = serving_signature(layout.serving_dir(model_uri))
    if not _load_weights_file(model, layout.keras_file(model_uri)):
        if signature is None:
            raise ModelError(
                f"{model_uri} holds no weights for the model of build_model_fn: neither a SavedModel in Format-Serving "
                "nor a Format-Keras/model.keras that fits it layer by layer. Make both architectures equal"
            )
        if signature.takes_strings:
            _copy_by_layer(signature.variables, model)
        else:
            _copy_in_order(signature.variables, model)
    if signature is not None and not signature.takes_strings:
        _compare(signature.function, model, samples)
    return model


def _load_weights_file(model: tf_keras.Model, path: Path) -> bool:
    if not path.is_file():
        return False
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(path) as archive:
        try:
            model.load_weights(archive.extract("model.weights.h5", scratch))
        except (ValueError, KeyError):
            return False
    return True


def _copy_in_order(variables: list[Any], model: tf_keras.Model) -> None:
    source = [
        np.asarray(variable) for variable in variables if np.issubdtype(variable.dtype.as_numpy_dtype, np.floating)
    ]
    wanted = [tuple(weight.shape) for weight in model.weights]
    found = [value.shape for value in source]
    if found != wanted:
        raise ModelError(
            f"build_model_fn's model has weights of shapes {wanted}, the trained model {found}: make both "
            f"architectures equal"
        )
    model.set_weights(source)


def _copy_by_layer(variables: list[Any], model: tf_keras.Model) -> None:
    """Fills a model whose outputs cannot be compared: layers are paired by name, or in order where names differ, and
    the weights of a pair by their own names."""
    source, target = _by_layer(variables), _by_layer(model.weights)
    names = list(target) if source.keys() == target.keys() else list(source)
    if len(source) != len(target) or any(
        _shapes(source[name]) != _shapes(weights) for name, weights in zip(names, target.values(), strict=True)
    ):
        raise ModelError(
            f"build_model_fn's model has the weights {_describe(target)}, the trained model {_describe(source)}: make "
            "both architectures equal, and name the layers alike"
        )
    for name, weights in zip(names, target.values(), strict=True):
        for own_name, weight in weights.items():
            weight.assign(source[name][own_name])


def _by_layer(variables: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """Floating-point variables by layer and by their own name: ``dense/kernel:0`` is ``kernel`` of ``dense``."""
    layers: dict[str, dict[str, Any]] = {}
    for variable in variables:
        layer, _, own_name = variable.name.partition(":")[0].rpartition("/")
        if variable.dtype.is_floating:
            layers.setdefault(layer, {})[own_name] = variable
    return layers


def _shapes(weights: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {own_name: tuple(weight.shape) for own_name, weight in weights.items()}


def _describe(layers: dict[str, dict[str, Any]]) -> str:
    return ", ".join(f"{layer}/{name} {shape}" for layer, ws in layers.items() for name, shape in _shapes(ws).items())


def _compare(function: Callable[..., dict[str, Any]], model: tf_keras.Model, samples: Batches) -> None:
    names = saving.model_input_names(model)
    for batch in samples:
        picked = features.select_features(batch, names)
        wanted = sorted(function(**picked).items())
        found = sorted(
            saving.named_outputs(model(saving.pack_inputs(model, list(picked.values()))), model.output_names).items()
        )
        for (name, expected), (_, value) in zip(wanted, found, strict=True):
            difference = float(np.max(np.abs(np.asarray(expected) - np.asarray(value))))
            if not difference <= 1e-4:
                raise ModelError(
                    f"build_model_fn's model with the trained weights differs from the trained model by "
                    f"{difference:.3g} in output {name!r}: "
                    "make both architectures equal, or assign the weights inside build_model_fn from fn_args.base_model"
                )


class TensorSignature:
    """A SavedModel's ``serving_default``.

    Attributes:
      function: the signature; takes and returns tensors by name.
      specs: input name to TensorSpec.
      variables: the SavedModel's variables, in the order they were made.
    """

    def __init__(self, loaded: Any) -> None:
        self.function = loaded.signatures["serving_default"]
        self.specs = dict(self.function.structured_input_signature[1])
        self.variables = list(getattr(loaded, "variables", None) or self.function.variables)

    @property
    def takes_strings(self) -> bool:
        """Whether it parses serialized ``tf.Example`` strings, which needs Flex ops on a device (tfx issue 94)."""
        return any(spec.dtype.name == "string" for spec in self.specs.values())


def serving_signature(directory: Path) -> TensorSignature | None:
    """The ``serving_default`` of a SavedModel, whatever it takes, or None when there is none."""
    import tensorflow as tf

    if not (directory / "saved_model.pb").is_file():
        return None
    loaded = tf.saved_model.load(str(directory))
    return TensorSignature(loaded) if "serving_default" in loaded.signatures else None
