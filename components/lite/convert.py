"""Converts a trainable model to TFLite from a SavedModel with a fixed batch, and proves the result by running it.

A batch of unknown size adds shape arithmetic and float tails, and a recurrent layer does not convert at all; a
SavedModel keeps the names of inputs and outputs. The converter is documented at
https://ai.google.dev/edge/litert/conversion/tensorflow/convert_tf.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfx_edge.devices.loaded_model import rows
from tfx_edge.errors import ModelError
from tfx_edge.lite import agreement
from tfx_edge.models import layout, saving, trainable
from tfx_edge.models.features import select_features

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Conversion:
    """A converted model.

    Attributes:
      content: the TFLite flatbuffer.
      quantized: the model was trained quantization-aware.
      agreement: how its outputs compare with those of the model it was made of.
    """

    content: bytes
    quantized: bool
    agreement: agreement.Agreement


@dataclass(frozen=True)
class _Source:
    """What is converted: a written SavedModel, and the model as a function to compare the result with."""

    function: Callable[[Batch], Batch]
    specs: dict[str, tf.TensorSpec]
    quantized: bool


def convert(
    model_uri: str | Path,
    *,
    batch_size: int | None,
    io_dtype: str,
    allow_select_tf_ops: bool,
    batches: Iterable[Batch] = (),
) -> Conversion:
    """Converts the model of a trainable stage and compares the result with it.

    ``Format-Keras`` is preferred, since it can be traced anew; ``Format-Serving`` serves where its signature takes
    tensors.

    Args:
      model_uri: the Model artifact's uri.
      batch_size: the first dimension of inputs and outputs, or None for any.
      io_dtype: ``float32``, or ``int8``/``uint8`` for a model that was trained quantization-aware.
      allow_select_tf_ops: accept operators that need TensorFlow's Flex runtime.
      batches: features by name to compare on; random inputs take their place when there are none.

    Raises:
      DataError: a batch does not fit the model.
      DeviceError: the interpreter crashed.
      ModelError: nothing convertible is there, the converter refuses the model, the result does not run, or it computes
        something else than the model.
    """
    with tempfile.TemporaryDirectory(prefix="tfx-edge-") as scratch:
        directory, lite_file = Path(scratch, "saved_model"), Path(scratch, "model.tflite")
        source = _write_source(Path(model_uri), directory, batch_size)
        if io_dtype != "float32" and not source.quantized:
            raise ModelError(
                f"io_dtype {io_dtype!r} needs a model that was trained quantization-aware: put a Quantizer with mode "
                "'qat' before LiteConverter, or quantize the .tflite after it"
            )
        content = _run_converter(directory, quantized=source.quantized, io_dtype=io_dtype, flex=allow_select_tf_ops)
        lite_file.write_bytes(content)
        given = [select_features(batch, list(source.specs)) for batch in batches]
        return Conversion(content, source.quantized, _compare(lite_file, source, given))


def _compare(lite_file: Path, source: _Source, given: list[Batch]) -> agreement.Agreement:
    import tensorflow as tf

    try:
        batches = given or agreement.random_batches(source.specs, source.function)
    except tf.errors.OpError as error:
        reason = f"the model does not run on random inputs: {str(error).splitlines()[0]}"
        return agreement.Agreement(not_compared=reason)
    return agreement.compare(lite_file, source.function, batches, quantized=source.quantized)


def _write_source(model_uri: Path, directory: Path, batch_size: int | None) -> _Source:
    """Writes the SavedModel to convert."""
    refusal: ModelError | None = None
    if layout.keras_file(model_uri).is_file() or (layout.serving_dir(model_uri) / "keras_metadata.pb").is_file():
        try:
            model = trainable.load_trainable(model_uri)
        except ModelError as error:
            refusal = error
        else:
            saving.save_serving(model, directory, batch_size)
            return _of_model(model)
    signature = trainable.tensor_signature(layout.serving_dir(model_uri))
    if signature is None:
        raise refusal or ModelError(
            f"{model_uri} cannot be converted: it holds no Format-Keras/model.keras, and no SavedModel whose signature "
            "takes tensors (a signature on serialized tf.Example strings cannot run on a device). "
            f"{trainable.SAVE_HINT}"
        )
    _check_batch(signature, batch_size)
    _write_with_batch(signature, directory, batch_size)
    return _of_signature(signature)


def _of_model(model: tf_keras.Model) -> _Source:
    names = saving.model_input_names(model)

    def function(batch: Batch) -> Batch:
        inputs = saving.pack_inputs(model, [batch[name] for name in names])
        outputs = saving.named_outputs(model(inputs, training=False), model.output_names)
        return {name: np.asarray(value) for name, value in outputs.items()}

    return _Source(function, dict(zip(names, model.inputs, strict=True)), quantized=False)


def _of_signature(signature: trainable.TensorSignature) -> _Source:
    import tensorflow as tf

    def function(batch: Batch) -> Batch:
        inputs = {name: tf.constant(values, signature.specs[name].dtype) for name, values in batch.items()}
        return {name: np.asarray(value) for name, value in signature.function(**inputs).items()}

    def in_fixed_batches(batch: Batch) -> Batch:
        examples = len(next(iter(batch.values())))
        parts = [
            function({name: rows(values, start, size) for name, values in batch.items()})
            for start in range(0, examples, size)
        ]
        return {name: np.concatenate([part[name] for part in parts])[:examples] for name in parts[0]}

    size = next(iter(signature.specs.values())).shape[0]
    whole = in_fixed_batches if size else function
    return _Source(whole, signature.specs, _has_fake_quantization(signature.function))


def _check_batch(signature: trainable.TensorSignature, batch_size: int | None) -> None:
    for name, spec in signature.specs.items():
        if not spec.shape.rank:
            raise ModelError(f"input {name!r} of the SavedModel has no batch dimension: export it with one")
        if spec.shape[0] not in (None, batch_size):
            raise ModelError(
                f"input {name!r} of the SavedModel takes batches of {spec.shape[0]}, which cannot become "
                f"{batch_size or 'any'}: set batch_size to {spec.shape[0]}, or export it with an open batch"
            )


def _write_with_batch(signature: trainable.TensorSignature, directory: Path, batch_size: int | None) -> None:
    import tensorflow as tf

    signatures = signature.loaded.signatures
    traced = signatures.get(saving.fixed_batch_signature(batch_size)) if batch_size else None
    inner = traced or signature.function
    names = list(signature.specs)
    specs = [
        tf.TensorSpec([batch_size, *spec.shape[1:]], spec.dtype, name=name) for name, spec in signature.specs.items()
    ]

    @tf.function(input_signature=specs, autograph=False)
    def serve(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return inner(**dict(zip(names, tensors, strict=True)))

    module = tf.Module()
    module.loaded = signature.loaded
    module.serve = serve
    tf.saved_model.save(module, str(directory), signatures={"serving_default": serve})


def _has_fake_quantization(function: Any) -> bool:
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for body in graph.library.function for node in body.node_def)]
    return any(node.op.startswith("FakeQuant") for node in nodes)


def _run_converter(source: Path, *, quantized: bool, io_dtype: str, flex: bool) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(source), signature_keys=["serving_default"])
    if quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if io_dtype != "float32":
        converter.inference_input_type = converter.inference_output_type = getattr(tf, io_dtype)
    if flex:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    try:
        return bytes(converter.convert())
    except Exception as error:
        raise ModelError(f"the TFLite converter refuses the model: {_reason(str(error))}") from error


def _reason(text: str) -> str:
    lines = text.splitlines() or ["it gave no reason"]
    lacking = next((line.partition(":")[2].strip() for line in lines if line.startswith("TF Select ops:")), None)
    if lacking:
        return (
            f"TFLite has no operators for {lacking}. Replace the layers (or their dtype) that use them, or set "
            "allow_select_tf_ops if the device has TensorFlow's Flex runtime"
        )
    return next((line for line in lines if "error:" in line), lines[0]).rpartition("error: ")[2].strip()
