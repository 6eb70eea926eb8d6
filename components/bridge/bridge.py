"""The bridge from Keras 3 to tf_keras: TensorFlow trains Keras 3 models, tensorflow-model-optimization takes tf_keras.

A Sequential or Functional model is rebuilt layer by layer from its serialized configuration and gets its weights by
layer name. Names of inputs, layers and outputs are kept; the optimizer and the compiled loss stay behind. What was
rebuilt should be compared with the original on real batches before it is used.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tf_keras

from tfx_edge.bridge.graph import WAY_OUT, GraphRebuilder
from tfx_edge.bridge.weights import copy_weights_by_name
from tfx_edge.errors import DataError, ModelError
from tfx_edge.models.tracing import trace_as_it_is

__all__ = ["copy_weights_by_name", "keras_version", "load_keras3", "to_tf_keras", "verify_equivalent"]

RTOL = 1e-5


def to_tf_keras(model: keras.Model) -> tf_keras.Model:
    """Rebuilds a Keras 3 model in tf_keras: same names, outputs and weights, not compiled.

    A Normalization layer becomes one that holds its statistics as constants.

    Args:
      model: a built Sequential or Functional model.

    Raises:
      ModelError: naming the layer that cannot be carried over, why, and the way out.
    """
    trace_as_it_is()
    rebuilt = GraphRebuilder().model(model)
    try:
        copy_weights_by_name(model, rebuilt)
    except ModelError as error:
        raise ModelError(f"{error}. The way out: {WAY_OUT}") from None
    return rebuilt


def verify_equivalent(
    original: keras.Model, rebuilt: tf_keras.Model, batches: Iterable[Any], atol: float = 1e-5
) -> float:
    """Compares the outputs of both models at inference on real batches.

    Elements a and b agree when ``|a - b| <= atol + 1e-5 * |a|``, when both are NaN, or when both are the same infinity.
    The relative part allows for float32: sums in another order differ by some 1e-6 of the values, however large.

    Args:
      original: the model that was trained.
      rebuilt: the model that stands for it.
      batches: inputs as the original takes them: an array, or a list or dict of arrays. A dict may also hold what is
        no input.
      atol: the absolute part of the tolerance, in units of the outputs.

    Returns:
      The largest absolute difference.

    Raises:
      ModelError: the outputs differ in structure, shape or value; the message gives both values of the worst element.
      DataError: there are no batches, or one lacks an input.
    """
    differences = []
    for batch in batches:
        feed = _feed(original, batch)
        expected = dict(_named_outputs(original(feed, training=False)))
        found = dict(_named_outputs(rebuilt(feed, training=False)))
        if expected.keys() != found.keys():
            raise ModelError(
                f"the original model returns {sorted(expected)}, the rebuilt model {sorted(found)}: {WAY_OUT}"
            )
        differences += [_difference(name, value, found[name], atol) for name, value in expected.items()]
    if not differences:
        raise DataError("there is no batch to compare the original and the rebuilt model on: give at least one")
    return max(differences)


def load_keras3(path: str | Path) -> keras.Model:
    """Loads a ``.keras`` file that Keras 3 wrote, without its optimizer and without running code stored in it.

    Raises:
      ModelError: there is no such file, tf_keras wrote it, or it holds a class or a Lambda that cannot be loaded.
    """
    version = keras_version(path)
    if not version.startswith("3."):
        raise ModelError(f"{path} was written by Keras {version}: load it with tf_keras.models.load_model")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        with zipfile.ZipFile(path) as archive:
            foreign = _foreign_layer(json.loads(archive.read("config.json")))
        told = str(error).partition("Full object config")[0].rpartition("Exception encountered:")[2]
        reason = " ".join(told.split()) or type(error).__name__
        raise ModelError(
            f"{foreign or 'the model'} in {path} cannot be loaded: {reason} The way out: {WAY_OUT}"
        ) from error


def keras_version(path: str | Path) -> str:
    """The version of Keras that wrote a ``.keras`` file: "2.…" is tf_keras, "3.…" Keras 3.

    Raises:
      ModelError: there is no such file, or it is no ``.keras`` archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return str(json.loads(archive.read("metadata.json"))["keras_version"])
    except FileNotFoundError:
        raise ModelError(f"there is no model file {path}: write one with model.save({str(path)!r})") from None
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} is not a .keras file ({error}): write one with model.save") from error


def _foreign_layer(config: Any) -> str | None:
    """Describes the first layer in a saved configuration that is a Lambda or no class of Keras's own."""
    if isinstance(config, dict):
        kind, module = config.get("class_name"), config.get("module") or ""
        foreign = kind == "Lambda" or not (module in ("keras", "builtins") or module.startswith("keras."))
        settings = config.get("config")
        if foreign and isinstance(kind, str) and isinstance(settings, dict) and "name" in settings:
            return f"layer {settings['name']!r} ({kind})"
        return next(filter(None, map(_foreign_layer, config.values())), None)
    if isinstance(config, list):
        return next(filter(None, map(_foreign_layer, config)), None)
    return None


def _feed(model: keras.Model, batch: Any) -> Any:
    if not isinstance(batch, dict):
        return batch
    try:
        structure = model.inputs if isinstance(model, keras.Sequential) else model.input
    except (AttributeError, ValueError):
        return batch  # a subclassed model takes what it takes
    try:
        if isinstance(structure, dict):
            return {name: batch[name] for name in structure}
        arrays = [batch[tensor.name] for tensor in keras.tree.flatten(structure)]
    except KeyError as error:
        raise DataError(f"a batch lacks the model's input {error}: it holds {sorted(batch)}") from None
    return arrays[0] if len(arrays) == 1 else arrays


def _named_outputs(outputs: Any, name: str = "output") -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(outputs, dict | list | tuple):
        items = outputs.items() if isinstance(outputs, dict) else enumerate(outputs)
        for key, value in items:
            yield from _named_outputs(value, f"{name}[{key!r}]")
    else:
        yield name, keras.ops.convert_to_numpy(outputs)


def _difference(name: str, expected: np.ndarray, found: np.ndarray, atol: float) -> float:
    if expected.shape != found.shape:
        raise ModelError(
            f"{name} of the original model has shape {expected.shape}, of the rebuilt model {found.shape}: {WAY_OUT}"
        )
    a, b = expected.astype(np.float64), found.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    difference = np.nan_to_num(difference, nan=np.inf, posinf=np.inf)
    excess = difference - np.where(np.isfinite(a), atol + RTOL * np.abs(a), atol)
    if excess.size and excess.max() > 0:
        worst = tuple(int(i) for i in np.unravel_index(np.argmax(excess), excess.shape))
        raise ModelError(
            f"{name} differs at {list(worst)}: {expected[worst]} in the original model, {found[worst]} in the rebuilt "
            f"one (tolerance {atol:g} + {RTOL:g} of the value). The way out: {WAY_OUT}"
        )
    return float(difference.max(initial=0.0))
