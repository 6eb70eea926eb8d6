"""`keras.ops` nodes of a Keras 3 graph, rebuilt as tf_keras layers that keep the node's name.

An operation becomes tf_keras's own wrapper of a public TensorFlow function (what `tf.add(x, y)` makes on a symbolic
tensor), so that the rebuilt model is saved, cloned and reloaded by tf_keras without any class of this package. The
operands are cast first as Keras 3 promotes them, which TensorFlow itself does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras.src.layers.core.tf_op_layer import SlicingOpLambda, TFOpLambda, _slice_to_dict

from tfx_edge.bridge.registered import rebuild_activation

Call = Callable[..., Any]

_ARITHMETIC = {
    "Add": tf.add, "Divide": tf.divide, "FloorDivide": tf.math.floordiv, "LogicalAnd": tf.logical_and,
    "LogicalOr": tf.logical_or, "Matmul": tf.matmul, "Maximum": tf.maximum, "Minimum": tf.minimum,
    "Mod": tf.math.floormod, "Multiply": tf.multiply, "Power": tf.pow, "Subtract": tf.subtract,
    "TrueDivide": tf.divide,
}  # fmt: skip
_COMPARISON = {
    "Equal": tf.equal, "Greater": tf.greater, "GreaterEqual": tf.greater_equal, "Less": tf.less,
    "LessEqual": tf.less_equal, "NotEqual": tf.not_equal,
}  # fmt: skip
_ELEMENTWISE = {
    "Abs": tf.abs, "Absolute": tf.abs, "Ceil": tf.math.ceil, "Cos": tf.cos, "Erf": tf.math.erf, "Exp": tf.exp,
    "Expm1": tf.math.expm1, "Floor": tf.floor, "Log": tf.math.log, "Log1p": tf.math.log1p,
    "LogicalNot": tf.logical_not, "Negative": tf.negative, "OnesLike": tf.ones_like, "Reciprocal": tf.math.reciprocal,
    "Rsqrt": tf.math.rsqrt, "Sign": tf.sign, "Sin": tf.sin, "Sqrt": tf.sqrt, "Square": tf.square,
    "StopGradient": tf.stop_gradient, "ZerosLike": tf.zeros_like,
}  # fmt: skip
_REDUCTION = {
    "All": tf.reduce_all, "Amax": tf.reduce_max, "Amin": tf.reduce_min, "Any": tf.reduce_any,
    "Logsumexp": tf.reduce_logsumexp, "Max": tf.reduce_max, "Mean": tf.reduce_mean, "Min": tf.reduce_min,
    "Prod": tf.reduce_prod, "Std": tf.math.reduce_std, "Sum": tf.reduce_sum, "Var": tf.math.reduce_variance,
}  # fmt: skip
_ACTIVATION = {
    "HardSigmoid": "hard_sigmoid", "HardSilu": "hard_silu", "LogSigmoid": "log_sigmoid", "Relu6": "relu6",
    "Selu": "selu", "Sigmoid": "sigmoid", "Silu": "silu", "Softplus": "softplus", "Softsign": "softsign",
    "Tanh": "tanh",
}  # fmt: skip


def rebuild_op(op: keras.Operation) -> Call:
    """Makes a callable that does to tf_keras symbolic tensors what `op` does to Keras 3 ones.

    Args:
      op: an operation of a Keras 3 graph that is not a layer. The layer that stands for it is named alike.

    Raises:
      ValueError: the operation, or one of its options, has no counterpart; the message says which.
    """
    kind = type(op).__name__
    if not type(op).__module__.startswith("keras.src."):
        raise ValueError(f"it is a class of your own ({type(op).__module__}.{kind}), unknown to tf_keras")
    if kind in _ACTIVATION:
        return _as_layer(
            lambda dtype: tf_keras.layers.Activation(rebuild_activation(_ACTIVATION[kind]), name=op.name, dtype=dtype)
        )
    if kind in _ELEMENTWISE:
        return _wrap(op, _ELEMENTWISE[kind])
    if kind in _ARITHMETIC:
        return _wrap(op, _ARITHMETIC[kind], cast=lambda operands: _cast(operands, op.output.dtype))
    if kind in _COMPARISON:
        return _wrap(op, _COMPARISON[kind], cast=lambda operands: _cast(operands, _common_dtype(operands)))
    if kind in _REDUCTION:
        if getattr(op, "initial", None) is not None:
            raise ValueError(f"its initial value {op.initial!r} has no counterpart")
        return _wrap(
            op,
            _REDUCTION[kind],
            cast=lambda operands: _cast(operands, op.output.dtype),
            axis=op.axis,
            keepdims=op.keepdims,
        )
    if kind in _SPECIAL:
        return _SPECIAL[kind](op)
    raise ValueError(f"the operation keras.ops {kind} is not among those that can be rebuilt")


def _wrap(op: keras.Operation, function: Call, cast: Call = list, **options: Any) -> Call:
    layer = TFOpLambda(function, name=op.name)
    return lambda *operands: layer(*cast(operands), **options)


def _as_layer(make: Callable[[str], tf_keras.layers.Layer]) -> Call:
    made: list[tf_keras.layers.Layer] = []

    def call(x: Any) -> Any:
        if not made:
            made.append(make(x.dtype.name))
        return made[0](x)

    return call


def _cast(operands: Any, dtype: str) -> list[Any]:
    return [_cast_one(x, dtype) for x in operands]


def _cast_one(x: Any, dtype: str) -> Any:
    if isinstance(x, np.ndarray | np.generic):
        return np.asarray(x).astype(tf.as_dtype(dtype).as_numpy_dtype)
    if hasattr(x, "dtype") and tf.as_dtype(x.dtype) != tf.as_dtype(dtype):
        return tf.cast(x, dtype)
    return x


def _common_dtype(operands: Any) -> str:
    return keras.backend.result_type(*(tf.as_dtype(x.dtype).name if hasattr(x, "dtype") else type(x) for x in operands))


def _with_rank(op: keras.Operation, function: Call, argument: Callable[[int], Any]) -> Call:
    layer = TFOpLambda(function, name=op.name)
    return lambda x: layer(x, argument(len(x.shape)))


def _permutation(op: keras.Operation, move: Call) -> Call:
    # An array whose axis i has length i + 1: moving its axes and reading the shape tells where each went.
    return _with_rank(
        op, tf.transpose, lambda rank: [n - 1 for n in move(np.empty(tuple(range(1, rank + 1)), "int8")).shape]
    )


def _join(op: keras.Operation, function: Call) -> Call:
    layer = TFOpLambda(function, name=op.name)
    return lambda tensors: layer(_cast(tensors, op.output.dtype), axis=op.axis)


def _where(op: keras.Operation) -> Call:
    layer = TFOpLambda(tf.where, name=op.name)
    return lambda condition, x1, x2: layer(_cast_one(condition, "bool"), *_cast((x1, x2), op.output.dtype))


def _getitem(op: keras.Operation) -> Call:
    layer = SlicingOpLambda(tf.__operators__.getitem, name=op.name)

    def call(x: Any, key: Any) -> Any:
        parts = list(key) if isinstance(key, list | tuple) else [key]
        if Ellipsis in parts:  # tf_keras cannot save it
            at = parts.index(Ellipsis)
            parts[at : at + 1] = [slice(None)] * (len(x.shape) - sum(part is not None for part in parts) + 1)
        return layer(x, tuple(_slice_to_dict(part) for part in parts))

    return call


def _split(op: keras.Operation) -> Call:
    sections = op.indices_or_sections
    if not isinstance(sections, int):
        sections = [*np.diff([0, *sections]).tolist(), -1]
    return _wrap(op, tf.split, num_or_size_splits=sections, axis=op.axis)


def _pad(op: keras.Operation) -> Call:
    layer = TFOpLambda(tf.pad, name=op.name)

    def call(x: Any, constant_values: Any = None) -> Any:
        widths = [list(pair) for pair in op.pad_width]
        widths = widths * len(x.shape) if len(widths) == 1 else widths
        return layer(x, widths, mode=op.mode.upper(), constant_values=constant_values or 0)

    return call


def _tile(op: keras.Operation) -> Call:
    repeats = [op.repeats] if isinstance(op.repeats, int) else list(op.repeats)
    return _with_rank(op, tf.tile, lambda rank: [1] * (rank - len(repeats)) + repeats)


def _clip(op: keras.Operation) -> Call:
    if op.x_min is None or op.x_max is None:
        raise ValueError(f"a clip without both bounds has no counterpart (bounds {op.x_min!r}, {op.x_max!r})")
    return _wrap(
        op,
        tf.clip_by_value,
        cast=lambda operands: _cast(operands, op.output.dtype),
        clip_value_min=op.x_min,
        clip_value_max=op.x_max,
    )


def _argmax(op: keras.Operation, function: Call) -> Call:
    if op.axis is None or op.keepdims:
        raise ValueError(f"axis={op.axis!r} with keepdims={op.keepdims!r} has no counterpart")
    return _wrap(op, function, axis=op.axis, output_type="int32")


def _elu(op: keras.Operation) -> Call:
    return _as_layer(lambda dtype: tf_keras.layers.ELU(alpha=op.alpha, name=op.name, dtype=dtype))


def _relu(op: keras.Operation) -> Call:
    options = {name: getattr(op, name) for name in ("max_value", "negative_slope", "threshold")}
    return _as_layer(lambda dtype: tf_keras.layers.ReLU(**options, name=op.name, dtype=dtype))


def _normalize(op: keras.Operation) -> Call:
    if op.order != 2:
        raise ValueError(f"only order 2 can be rebuilt, this one has order {op.order!r}")
    epsilon = keras.config.epsilon() if op.epsilon is None else op.epsilon
    return _wrap(op, tf.math.l2_normalize, axis=op.axis, epsilon=epsilon**2)


_SPECIAL: dict[str, Callable[[Any], Call]] = {
    "Argmax": lambda op: _argmax(op, tf.argmax),
    "Argmin": lambda op: _argmax(op, tf.argmin),
    "BroadcastTo": lambda op: _wrap(op, tf.broadcast_to, shape=op.shape),
    "Cast": lambda op: _wrap(op, tf.cast, dtype=op.dtype),
    "Clip": _clip,
    "Concatenate": lambda op: _join(op, tf.concat),
    "Elu": _elu,
    "ExpandDims": lambda op: _wrap(op, tf.expand_dims, axis=op.axis),
    "Gelu": lambda op: _wrap(op, tf.nn.gelu, approximate=op.approximate),
    "GetItem": _getitem,
    "LeakyRelu": lambda op: _wrap(op, tf.nn.leaky_relu, alpha=op.negative_slope),
    "LogSoftmax": lambda op: _wrap(op, tf.nn.log_softmax, axis=op.axis),
    "Moveaxis": lambda op: _permutation(op, lambda x: np.moveaxis(x, op.source, op.destination)),
    "Normalize": _normalize,
    "Pad": _pad,
    "ReLU": _relu,
    "Relu": lambda op: _as_layer(lambda dtype: tf_keras.layers.ReLU(name=op.name, dtype=dtype)),
    "Repeat": lambda op: _wrap(op, tf.repeat, repeats=op.repeats, axis=op.axis),
    "Reshape": lambda op: _wrap(op, tf.reshape, shape=op.newshape),
    "Softmax": lambda op: _wrap(op, tf.nn.softmax, axis=op.axis),
    "Split": _split,
    "Squeeze": lambda op: _wrap(op, tf.squeeze, axis=op.axis),
    "Stack": lambda op: _join(op, tf.stack),
    "Swapaxes": lambda op: _permutation(op, lambda x: np.swapaxes(x, op.axis1, op.axis2)),
    "Tile": _tile,
    "Transpose": lambda op: _wrap(op, tf.transpose, perm=op.axes),
    "Where": _where,
}
