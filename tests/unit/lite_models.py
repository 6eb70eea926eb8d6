"""Small real models as ``.tflite`` bytes, each converted once per test session.

The weights are seeded but untrained. TensorFlow is imported by the first model that is asked for. Every float model has
the single input ``image`` (8x8 grey) or ``sequence`` (6 steps of 4 features) with a batch of one, unless said.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

IMAGE_SHAPE = (1, 8, 8, 1)
SEQUENCE_SHAPE = (1, 6, 4)
CLASSES = 10


def write(folder: Path, content: bytes, name: str = "tflite") -> Path:
    """Puts the bytes of a model into a file of the folder and gives its path."""
    path = folder / name
    path.write_bytes(content)
    return path


@functools.cache
def cnn() -> Any:
    """A tf_keras CNN: conv 8, conv 16, max pooling, dense 48, dense 10, softmax."""
    import tf_keras as keras

    keras.utils.set_random_seed(7)
    return keras.Sequential(
        [
            keras.layers.InputLayer(IMAGE_SHAPE[1:], name="image"),
            keras.layers.Conv2D(8, 3, activation="relu", name="conv_a"),
            keras.layers.Conv2D(16, 3, activation="relu", name="conv_b"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(48, activation="relu", name="dense"),
            keras.layers.Dense(CLASSES, activation="softmax", name="probability"),
        ]
    )


def images(count: int = 16) -> Iterator[dict[str, np.ndarray]]:
    """Seeded calibration samples for the image models, float32 in [0, 1)."""
    rng = np.random.default_rng(7)
    for _ in range(count):
        yield {"image": rng.random(IMAGE_SHAPE, dtype=np.float32)}


@functools.cache
def float32() -> bytes:
    """The CNN, not quantized."""
    return _convert(cnn(), IMAGE_SHAPE)


@functools.cache
def float16() -> bytes:
    """The CNN with float16 weights behind DEQUANTIZE ops."""
    import tensorflow as tf

    def setup(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    return _convert(cnn(), IMAGE_SHAPE, setup)


@functools.cache
def dynamic_int8() -> bytes:
    """The CNN with int8 weights and float activations."""
    import tensorflow as tf

    def setup(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]

    return _convert(cnn(), IMAGE_SHAPE, setup)


@functools.cache
def int8() -> bytes:
    """The CNN in full int8, input and output included."""
    return _convert(cnn(), IMAGE_SHAPE, functools.partial(_full_integer, io_dtype="int8"))


@functools.cache
def int8_float_io() -> bytes:
    """The CNN in full int8 between a QUANTIZE and a DEQUANTIZE."""
    return _convert(cnn(), IMAGE_SHAPE, _full_integer)


@functools.cache
def int16x8() -> bytes:
    """The CNN with int16 activations (input and output included) and int8 weights."""
    return _convert(cnn(), IMAGE_SHAPE, functools.partial(_full_integer, io_dtype="int16"))


@functools.cache
def int4_weights() -> bytes:
    """The float CNN with int4 weights and float activations, made by litert_quantizer."""
    return _litert_quantized(float32(), "dynamic_wi4_afp32")


@functools.cache
def int4_blocks() -> bytes:
    """A dense layer of 64 x 64 with int4 weights that have a float16 scale for each 32, made by litert_quantizer."""
    import tf_keras as keras

    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.layers.InputLayer((64,), name="features"), keras.layers.Dense(64, name="logits")])
    content = _convert(model, (1, 64), input_name="features")
    return _litert_quantized(content, "dynamic_wi4_afp32", granularity="BLOCKWISE_32")


@functools.cache
def int8_weight_only() -> bytes:
    """The float CNN with int8 weights behind DEQUANTIZE ops, made by litert_quantizer."""
    return _litert_quantized(float32(), "weight_only_wi8_afp32")


@functools.cache
def int8x4() -> bytes:
    """The CNN with int8 activations and int4 weights, made by litert_quantizer."""
    return _litert_quantized(float32(), "static_wi8_ai8", num_bits=4)


def _litert_quantized(content: bytes, recipe_name: str, **weight_options: Any) -> bytes:
    import numpy.typing  # noqa: F401  (litert_quantizer uses it without importing it)
    from litert_quantizer import quantizer, recipe

    (entry,) = getattr(recipe, recipe_name)()
    entry["op_config"]["weight_tensor_config"].update(weight_options)
    job = quantizer.Quantizer(bytearray(content))
    job.load_quantization_recipe([entry])
    calibration = job.calibrate({"serving_default": list(images())}) if job.need_calibration else None
    return bytes(job.quantize(calibration).quantized_model)


@functools.cache
def any_batch() -> bytes:
    """The float CNN for a batch of any size."""
    return _convert(cnn(), (None, *IMAGE_SHAPE[1:]))


@functools.cache
def free_length() -> bytes:
    """A softmax of what sequences of any length sum up to."""
    return _of_tensor((1, None, 4), "sequence", lambda x: _softmax_of_sum(x, 1))


@functools.cache
def four_classes() -> bytes:
    """A softmax of four sums of an image, where the other image models tell ten classes apart."""
    return _of_tensor(IMAGE_SHAPE, "image", lambda x: _softmax_of_sum(x[:, :, :4, 0], 1))


@functools.cache
def embedding() -> bytes:
    """The mean of 256 rows of a table of 10,000 rows and 10 MB, by their numbers ``ids``; a softmax of 256 classes."""
    import tensorflow as tf

    table = np.random.default_rng(0).random((10_000, 256), np.float32)

    def look_up(ids: Any) -> Any:
        return tf.nn.softmax(tf.reduce_mean(tf.gather(tf.constant(table), ids), axis=1))

    return _of_tensor((1, 256), "ids", look_up, tf.int32)


def _softmax_of_sum(x: Any, axis: int) -> Any:
    import tensorflow as tf

    return tf.nn.softmax(tf.reduce_sum(x, axis))


def _of_tensor(
    shape: tuple[int | None, ...], name: str, function: Callable[[Any], Any], dtype: Any = "float32"
) -> bytes:
    import tensorflow as tf

    module = tf.Module()
    signature = [tf.TensorSpec(shape, dtype, name=name)]
    module.serve = tf.function(lambda x: {"scores": function(x)}, autograph=False, input_signature=signature)
    return _from_saved_model(module, {"serving_default": module.serve})


@functools.cache
def sparse_kernel() -> np.ndarray:
    """The kernel (inputs x outputs, 64 x 64) of ``sparse``: about three of four 4x1 blocks are zero."""
    blocks = np.random.default_rng(7).random((16, 64)) < 0.25
    values = np.random.default_rng(8).uniform(0.5, 1, (64, 64))
    return (np.repeat(blocks, 4, axis=0) * values).astype(np.float32)


@functools.cache
def sparse() -> bytes:
    """A dense layer of ``sparse_kernel`` in float, stored in TFLite's sparse encoding."""
    import tensorflow as tf
    import tf_keras as keras

    model = keras.Sequential(
        [keras.layers.InputLayer((64,), name="features"), keras.layers.Dense(64, use_bias=False, name="logits")]
    )
    model.set_weights([sparse_kernel()])

    def setup(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]

    return _convert(model, (1, 64), setup, input_name="features")


@functools.cache
def float_island() -> bytes:
    """A convolution and a dense layer in int8, int8 I/O included, around a sine, which has a float kernel only."""
    import tensorflow as tf
    import tf_keras as keras

    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.layers.InputLayer(IMAGE_SHAPE[1:], name="image"),
            keras.layers.Conv2D(8, 3, name="conv"),
            keras.layers.Activation(tf.sin, name="sine"),
            keras.layers.Flatten(),
            keras.layers.Dense(CLASSES, name="logits"),
        ]
    )

    def setup(converter: Any) -> None:
        _full_integer(converter, "int8")
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]

    return _convert(model, IMAGE_SHAPE, setup)


@functools.cache
def lstm() -> bytes:
    """An LSTM of 8 units over a sequence, in float: one fused UNIDIRECTIONAL_SEQUENCE_LSTM."""
    return _convert(_recurrent("LSTM"), SEQUENCE_SHAPE, input_name="sequence")


@functools.cache
def gru_loop() -> bytes:
    """A GRU of 8 units, in float: a WHILE whose condition and body are subgraphs of their own."""
    return _convert(_recurrent("GRU"), SEQUENCE_SHAPE, input_name="sequence")


@functools.cache
def gru_unrolled() -> bytes:
    """A GRU of 8 units, unrolled into plain ops, in float."""
    return _convert(_recurrent("GRU", unroll=True), SEQUENCE_SHAPE, input_name="sequence")


def _recurrent(cell: str, **options: Any) -> Any:
    import tf_keras as keras

    keras.utils.set_random_seed(7)
    layer = getattr(keras.layers, cell)(8, **options)
    return keras.Sequential(
        [keras.layers.InputLayer(SEQUENCE_SHAPE[1:], name="sequence"), layer, keras.layers.Dense(3, name="logits")]
    )


@functools.cache
def flex() -> bytes:
    """A dense layer followed by a matrix determinant, which only TensorFlow's own kernel can compute."""
    return _determinant(custom=False)


@functools.cache
def custom() -> bytes:
    """The same with the determinant as a custom operator, for which no kernel exists."""
    return _determinant(custom=True)


def _determinant(custom: bool) -> bytes:
    import tensorflow as tf

    kernel = tf.constant(np.random.default_rng(7).normal(size=(16, 16)).astype(np.float32))

    class Determinant(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 16), tf.float32, name="features")])
        def serve(self, features: Any) -> dict[str, Any]:
            return {"determinant": tf.linalg.det(tf.reshape(tf.matmul(features, kernel), (4, 4)))}

    def setup(converter: Any) -> None:
        converter.allow_custom_ops = custom
        if not custom:
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]

    module = Determinant()
    return _from_saved_model(module, {"serving_default": module.serve}, setup)


@functools.cache
def two_signatures() -> bytes:
    """A module with the signatures ``embed`` (features -> embedding) and ``score`` (features -> score)."""
    import tensorflow as tf

    kernel = np.random.default_rng(7).normal(size=(16, 8)).astype(np.float32)

    class TwoHeads(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(kernel)

        @tf.function(input_signature=[tf.TensorSpec((1, 16), tf.float32, name="features")])
        def embed(self, features: Any) -> dict[str, Any]:
            return {"embedding": tf.matmul(features, self.kernel)}

        @tf.function(input_signature=[tf.TensorSpec((1, 16), tf.float32, name="features")])
        def score(self, features: Any) -> dict[str, Any]:
            return {"score": tf.reduce_sum(tf.matmul(features, self.kernel), axis=1)}

    module = TwoHeads()
    return _from_saved_model(module, {"embed": module.embed, "score": module.score})


@functools.cache
def endless() -> bytes:
    """A model that never comes to an end on some inputs, 0 among them: a loop that waits for what cannot happen."""

    def serve(x: Any) -> dict[str, Any]:
        import tensorflow as tf

        return {"scores": tf.while_loop(lambda y: tf.reduce_max(y) < 2.0, lambda y: (tf.sin(y),), (x,))[0]}

    return _of_function(serve)


@functools.cache
def crashing() -> bytes:
    """A model whose branches lead to its own main graph: preparing it recurses until the stack is full."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def serve(x: Any) -> dict[str, Any]:
        import tensorflow as tf

        return {"scores": tf.cond(tf.reduce_sum(x) > 0, lambda: x * 2, lambda: tf.sin(x))}

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(_of_function(serve))))
    branches = [
        op.builtinOptions for op in model.subgraphs[0].operators if hasattr(op.builtinOptions, "thenSubgraphIndex")
    ]
    assert branches
    for options in branches:
        options.thenSubgraphIndex = options.elseSubgraphIndex = 0
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _of_function(function: Callable[[Any], dict[str, Any]]) -> bytes:
    import tensorflow as tf

    module = tf.Module()
    module.serve = tf.function(function, autograph=False, input_signature=[tf.TensorSpec((1, 4), tf.float32, name="x")])
    return _from_saved_model(module, {"serving_default": module.serve})


def _convert(
    model: Any, shape: tuple[int, ...], setup: Callable[[Any], None] | None = None, input_name: str = "image"
) -> bytes:
    import tensorflow as tf

    @tf.function(autograph=False, input_signature=[tf.TensorSpec(shape, tf.float32, name=input_name)])
    def serve(tensor: Any) -> dict[str, Any]:
        return {model.output_names[0]: model(tensor, training=False)}

    module = tf.Module()
    module.kept = model.variables  # the variables alone: saving a whole Keras model would trace every layer once more
    module.serve = serve
    return _from_saved_model(module, {"serving_default": serve}, setup)


def _from_saved_model(module: Any, signatures: dict[str, Any], setup: Callable[[Any], None] | None = None) -> bytes:
    import tempfile

    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(signatures))
        if setup:
            setup(converter)
        return converter.convert()


def _full_integer(converter: Any, io_dtype: str = "float32") -> None:
    import tensorflow as tf

    wide = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = images
    converter.target_spec.supported_ops = [wide if io_dtype == "int16" else tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = getattr(tf, io_dtype)
