"""Finds what can be converted in a Model artifact."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfx_edge.conversion import source
from tfx_edge.errors import ModelError
from tfx_edge.models import layout, trainable

if TYPE_CHECKING:
    import tf_keras


def of_artifact(
    model_uri: str | Path,
    signatures: tuple[str, ...] | None = None,
    samples: Iterable[dict[str, np.ndarray]] = (),
    build_model: Callable[[], tf_keras.Model] | None = None,
) -> source.Source:
    """The model of a trainable or quantization-aware stage.

    ``Format-Keras`` is preferred, since a Keras model can be traced anew for any batch; ``Format-Serving`` serves where
    its signature takes tensors, and for every model whose signatures are named.

    Args:
      model_uri: the Model artifact's uri.
      signatures: signatures of the SavedModel, the main one first; None takes the model as a whole.
      samples: batches of features on which a model that was carried over is compared with the original.
      build_model: makes the architecture in tf_keras, where the user's module does.

    Raises:
      ModelError: nothing convertible is there.
      UserCodeError: ``build_model`` returned something that is no tf_keras model.
    """
    uri = Path(model_uri)
    refusal: ModelError | None = None
    if signatures is None and _holds_keras_model(uri, build_model is not None):
        try:
            return source.of_model(trainable.load_trainable(uri, samples, build_model))
        except ModelError as error:
            refusal = error
    loaded = _loaded(layout.serving_dir(uri))
    if loaded is None:
        raise refusal or ModelError(
            f"{uri} cannot be converted: it holds no Format-Keras/model.keras, and no SavedModel. {trainable.SAVE_HINT}"
        )
    try:
        return source.of_saved_model(loaded, signatures)
    except ModelError as error:
        raise refusal or ModelError(f"{uri} cannot be converted: {error}") from None


def _loaded(directory: Path) -> Any:
    import tensorflow as tf

    return tf.saved_model.load(str(directory)) if (directory / "saved_model.pb").is_file() else None


def _holds_keras_model(uri: Path, built: bool) -> bool:
    quantization_aware = layout.steps_json(uri).is_file()
    return (
        layout.keras_file(uri).is_file()
        or (layout.serving_dir(uri) / "keras_metadata.pb").is_file()
        or (built and not quantization_aware)
    )
