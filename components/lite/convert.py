"""Converts a trainable model to TFLite from a SavedModel with a fixed batch.

A batch of unknown size adds shape arithmetic and float tails, and an LSTM does not convert at all; a SavedModel
keeps the
names of inputs and outputs. Documented at https://ai.google.dev/edge/litert/conversion/tensorflow/convert_tf.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_edge.errors import ModelError
from tfx_edge.models import layout, saving, trainable

if TYPE_CHECKING:
    import tensorflow as tf


def convert(model_uri: str | Path, *, batch_size: int | None, io_dtype: str, allow_select_tf_ops: bool) -> bytes:
    """Converts the model of a trainable stage.

    ``Format-Keras`` is preferred, since it can be traced anew; ``Format-Serving`` serves where its signature
    takes tensors.

    Args:
      model_uri: the Model artifact's uri.
      batch_size: the first dimension of inputs and outputs, or None for any.
      io_dtype: ``float32``, or ``int8``/``uint8`` for a model that was trained quantization-aware.
      allow_select_tf_ops: accept operators that need TensorFlow's Flex runtime.

    Returns:
      The TFLite flatbuffer.

    Raises:
      ModelError: nothing convertible is there, or the converter refuses the model.
    """
    with tempfile.TemporaryDirectory(prefix="tfx-edge-") as scratch:
        source = Path(scratch, "saved_model")
        quantized = _write_source(Path(model_uri), source, batch_size)
        if io_dtype != "float32" and not quantized:
            raise ModelError(
                f"io_dtype {io_dtype!r} needs a model that was trained quantization-aware: put a Quantizer with "
                f"mode 'qat' before "
                "LiteConverter, or quantize the .tflite after it"
            )
        return _run_converter(source, quantized=quantized, io_dtype=io_dtype, flex=allow_select_tf_ops)


def _write_source(model_uri: Path, source: Path, batch_size: int | None) -> bool:
    """Writes the SavedModel to convert; tells whether it was trained quantization-aware."""
    refusal: ModelError | None = None
    if layout.keras_file(model_uri).is_file():
        try:
            saving.save_serving(trainable.load_trainable(model_uri), source, batch_size)
            return False
        except ModelError as error:
            refusal = error
    signature = trainable.tensor_signature(layout.serving_dir(model_uri))
    if signature is None:
        raise refusal or ModelError(
            f"{model_uri} cannot be converted: it holds no Format-Keras/model.keras, and no SavedModel whose "
            f"signature takes tensors "
            f"(a signature on serialized tf.Example strings cannot run on a device). {trainable.SAVE_HINT}"
        )
    _write_with_batch(signature, source, batch_size)
    return _has_fake_quantization(signature.function)


def _write_with_batch(signature: trainable.TensorSignature, source: Path, batch_size: int | None) -> None:
    import tensorflow as tf

    names = list(signature.specs)
    specs = [
        tf.TensorSpec([batch_size, *spec.shape[1:]], spec.dtype, name=name) for name, spec in signature.specs.items()
    ]

    @tf.function(input_signature=specs, autograph=False)
    def serve(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return signature.function(**dict(zip(names, tensors, strict=True)))

    module = tf.Module()
    module.loaded = signature.loaded
    module.serve = serve
    tf.saved_model.save(module, str(source), signatures={"serving_default": serve})


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
        first = next((line for line in str(error).splitlines() if "error:" in line), str(error).splitlines()[0])
        raise ModelError(f"the TFLite converter refuses the model: {first.strip()}") from error
