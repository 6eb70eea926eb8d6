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

from tfx_edge.errors import ModelError, UserCodeError
from tfx_edge.models import bridge, features, layout, saving

if TYPE_CHECKING:
    import tf_keras

Batches = Iterable[dict[str, np.ndarray]]

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
        inputs = saving.model_input_names(model)
        bridge.verify_equivalent(
            original, model, [_packed(model, inputs, batch) for batch in samples or [_noise(model)]]
        )
        return model
    if (layout.serving_dir(model_uri) / "keras_metadata.pb").is_file():
        return _from_saved_model(layout.serving_dir(model_uri))
    if (path.with_name("steps.json")).is_file():
        raise ModelError(
            f"{model_uri} went through quantization-aware training and can only be converted: put this step before it"
        )
    raise ModelError(f"{model_uri} holds no trainable model (no Format-Keras/model.keras): {SAVE_HINT}")


def _noise(model: tf_keras.Model) -> dict[str, np.ndarray]:
    """A batch of random inputs, for stages that see no examples; integers are 0 or 1."""
    generator = np.random.default_rng(0)
    batch = {}
    for name, tensor in zip(saving.model_input_names(model), model.inputs, strict=True):
        shape = [8, *(size or 8 for size in tensor.shape[1:])]
        noise = generator.normal(size=shape) if tensor.dtype.is_floating else generator.integers(0, 2, shape)
        batch[name] = noise.astype(tensor.dtype.as_numpy_dtype)
    return batch


def _packed(model: tf_keras.Model, inputs: list[str], batch: dict[str, np.ndarray]) -> Any:
    return saving.pack_inputs(model, list(features.select_features(batch, inputs).values()))


def _from_saved_model(directory: Path) -> tf_keras.Model:
    import tf_keras

    loaded = tf_keras.models.load_model(directory, compile=False)
    if not getattr(loaded, "inputs", None):
        raise ModelError(f"the SavedModel in {directory} is not a Functional or Sequential model: {SAVE_HINT}")
    return tf_keras.Model(loaded.input, loaded.output)


def _from_user(model: Any, model_uri: str | Path, samples: Batches) -> tf_keras.Model:
    """Fills the user's architecture with the saved weights, and checks it against the SavedModel "
    "where that can be run."""
    import tf_keras

    if not isinstance(model, tf_keras.Model) or not getattr(model, "inputs", None):
        raise UserCodeError(
            f"build_model_fn returned {type(model).__module__}.{type(model).__name__}; it must return a "
            f"tf_keras Functional or Sequential model"
        )
    reference = tensor_signature(layout.serving_dir(model_uri))
    loaded = _load_weights_file(model, layout.keras_file(model_uri))
    if reference is None:
        if not loaded:
            raise ModelError(
                f"the weights in {model_uri} do not fit the model of build_model_fn layer by layer, and there is "
                f"no SavedModel with a tensor "
                "signature to take them from. Make both architectures equal, or export one with tensors as inputs"
            )
        return model
    if not loaded:
        _copy_in_order(reference.variables, model)
    _compare(reference.function, model, samples)
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
    """A SavedModel's ``serving_default``, when it takes dense numeric tensors.

    Attributes:
      function: the signature; takes and returns tensors by name.
      specs: input name to TensorSpec.
      variables: the SavedModel's variables, in the order they were made.
    """

    def __init__(self, loaded: Any) -> None:
        self.loaded = loaded
        self.function = loaded.signatures["serving_default"]
        self.specs = dict(self.function.structured_input_signature[1])
        self.variables = list(getattr(loaded, "variables", None) or self.function.variables)


def tensor_signature(directory: Path) -> TensorSignature | None:
    """The tensor signature of a SavedModel, or None when there is no SavedModel or its signature takes strings.

    A signature that parses serialized ``tf.Example`` strings needs Flex ops and cannot go to TFLite (tfx issue 94).
    """
    import tensorflow as tf

    if not (directory / "saved_model.pb").is_file():
        return None
    loaded = tf.saved_model.load(str(directory))
    if "serving_default" not in loaded.signatures:
        return None
    signature = TensorSignature(loaded)
    return None if any(spec.dtype == tf.string for spec in signature.specs.values()) else signature
