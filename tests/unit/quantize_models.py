"""Float ``.tflite`` models with what is hard to quantize, as bytes, each converted once per test session."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import lite_models
import numpy as np


@functools.cache
def embedding() -> bytes:
    """100 rows of 32 numbers looked up by 6 ids (``tokens``), averaged, then a dense layer of 64."""
    import tensorflow as tf

    table, kernel = _normal(100, 32), _normal(32, 64)

    def serve(tokens: Any) -> Any:
        return tf.matmul(tf.reduce_mean(tf.gather(table, tokens), axis=1), kernel)

    return _of(serve, tf.TensorSpec((1, 6), tf.int32, name="tokens"))


@functools.cache
def embedding_of_any_batch() -> bytes:
    """The rows alone, for a batch of any size."""
    import tensorflow as tf

    table = _normal(100, 32)
    return _of(lambda tokens: tf.gather(table, tokens), tf.TensorSpec((None, 6), tf.int32, name="tokens"))


@functools.cache
def constant_matmul() -> bytes:
    """A BATCH_MATMUL of ``x`` (1 x 4 x 8 x 32) with a constant."""
    import tensorflow as tf

    kernel = _normal(1, 4, 32, 16)
    return _of(lambda x: tf.matmul(x, kernel), tf.TensorSpec((1, 4, 8, 32), tf.float32, name="x"))


@functools.cache
def partly_read_split() -> bytes:
    """A dense layer of 64 inputs ``x`` whose outputs are split in four; the second part is never read."""
    import tensorflow as tf

    kernel = _normal(64, 64)

    def serve(x: Any) -> Any:
        first, _, third, last = tf.split(tf.matmul(x, kernel), 4, axis=-1)
        return tf.nn.sigmoid(first) * tf.tanh(third) - last

    return _of(serve, tf.TensorSpec((1, 64), tf.float32, name="x"))


@functools.cache
def dense() -> bytes:
    """A dense layer of 64 inputs ``x`` and 48 outputs."""
    import tensorflow as tf

    kernel = _normal(64, 48)
    return _of(lambda x: tf.matmul(x, kernel), tf.TensorSpec((1, 64), tf.float32, name="x"))


@functools.cache
def pruned() -> bytes:
    """The same with no weights from the first half of the inputs, and none to the first output."""
    import tensorflow as tf

    values = np.random.default_rng(7).standard_normal((64, 48)).astype(np.float32)
    values[:32] = values[:, 0] = 0
    kernel = tf.constant(values)
    return _of(lambda x: tf.matmul(x, kernel), tf.TensorSpec((1, 64), tf.float32, name="x"))


@functools.cache
def two_inputs() -> bytes:
    """Signatures of different inputs: ``of_x`` takes ``x``, ``of_y`` takes ``y``; each is a dense layer of its own."""
    import tensorflow as tf

    kernels = _normal(16, 8), _normal(16, 8)
    module = tf.Module()
    functions = {}
    for name, kernel in zip("xy", kernels, strict=True):
        specification = tf.TensorSpec((1, 16), tf.float32, name=name)
        serve = functools.partial(tf.matmul, b=kernel)
        functions[f"of_{name}"] = _function(serve, specification)
    module.functions = list(functions.values())
    return lite_models._from_saved_model(module, functions)


def older(content: bytes) -> bytes:
    """The same model with operator codes as converters wrote them before schema 3a."""
    from ai_edge_litert import schema_py_generated as schema

    def forget(model: Any) -> None:
        for code in model.operatorCodes:
            code.deprecatedBuiltinCode, code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode), 0

    assert schema.BuiltinOperator.ADD == 0, "the default, which stands for a field that is not there"
    return _changed(content, forget)


def _changed(content: bytes, change: Callable[[Any], None]) -> bytes:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content)))
    change(model)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _of(function: Callable[[Any], Any], specification: Any) -> bytes:
    import tensorflow as tf

    module = tf.Module()
    module.serve = _function(function, specification)
    return lite_models._from_saved_model(module, {"serving_default": module.serve})


def _function(function: Callable[[Any], Any], specification: Any) -> Any:
    import tensorflow as tf

    return tf.function(lambda value: {"out": function(value)}, autograph=False, input_signature=[specification])


def _normal(*shape: int) -> Any:
    import tensorflow as tf

    return tf.constant(np.random.default_rng(7).standard_normal(shape).astype(np.float32))


def run(content: bytes, *inputs: np.ndarray) -> np.ndarray:
    """The first output, as real numbers, of inputs that are real numbers or ids, in the order of the file."""
    from ai_edge_litert.interpreter import Interpreter

    from tfx_edge.lite.tensors import dequantize, quantize

    interpreter = Interpreter(model_content=content)
    for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.resize_tensor_input(detail["index"], value.shape)
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
        if detail["dtype"] != value.dtype:
            value = quantize(value, detail["dtype"], *detail["quantization"])
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    (detail, *_) = interpreter.get_output_details()
    value = interpreter.get_tensor(detail["index"])
    return dequantize(value, *detail["quantization"]) if detail["quantization"][0] else value


def difference(content: bytes, reference: bytes, *inputs: np.ndarray) -> float:
    """The largest difference of the first output, as a share of the largest output of the reference."""
    expected = run(reference, *inputs)
    return float(np.abs(run(content, *inputs) - expected).max() / np.abs(expected).max())
