"""Equal ways to compute what TensorFlow Transform writes with operators that TFLite lacks.

TFLite has tables from strings to numbers only, filled by constants and not from a file; it has no search in sorted
boundaries (``tft.bucketize``) and no hash of strings. Semantics: https://www.tensorflow.org/api_docs/python/tf/raw_ops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

Values = Callable[[Iterable["tf.Tensor"]], list["tf.Tensor"]]


class Tables:
    """The vocabularies of a graph.

    Attributes:
      made: a ``tf.Module`` that holds the tables of constants which took their place: whoever saves the new graph must
        track it.
    """

    def __init__(self, captured: Mapping[str, Any]) -> None:
        """Takes what a graph captured from outside, by the name of the tensor that stands for it inside."""
        import tensorflow as tf

        self.made = tf.Module()
        self._captured = captured
        self._constant: dict[tuple[str, int], tf.lookup.StaticHashTable] = {}

    def content(self, lookup: tf.Operation) -> tuple[np.ndarray, np.ndarray]:
        """Keys and values of the table that an operator ``LookupTableFindV2`` looks into."""
        import tensorflow as tf

        with tf.init_scope():
            keys, values = tf.raw_ops.LookupTableExportV2(
                table_handle=self._captured[lookup.inputs[0].name],
                Tkeys=lookup.inputs[1].dtype,
                Tvalues=lookup.outputs[0].dtype,
            )
            order = np.argsort(values.numpy(), kind="stable")
            return keys.numpy()[order], values.numpy()[order]

    def size(self, handle: tf.Tensor) -> int:
        """How many entries the table of a handle has."""
        import tensorflow as tf

        with tf.init_scope():
            return int(tf.raw_ops.LookupTableSizeV2(table_handle=self._captured[handle.name]))

    def constant(self, lookup: tf.Operation, default: int) -> tf.lookup.StaticHashTable:
        """The same table, from strings to int64, filled by constants."""
        import tensorflow as tf

        key = (lookup.inputs[0].name, default)
        if key not in self._constant:
            with tf.init_scope():
                initializer = tf.lookup.KeyValueTensorInitializer(*self.content(lookup))
                table = tf.lookup.StaticHashTable(initializer, default)
            name = f"table_{len(self._constant)}"
            table._shared_name = name  # a random one by default, which would end up in the .tflite as the table's id
            setattr(self.made, name, table)
            self._constant[key] = table
        return self._constant[key]


def _find(op: tf.Operation, values: Values, tables: Tables) -> tf.Tensor | None:
    """A vocabulary: a table of constants for strings, comparisons with every key for numbers."""
    import tensorflow as tf

    _, keys, default = op.inputs
    if keys.dtype not in (tf.string, tf.int64, tf.int32) or op.outputs[0].dtype != tf.int64:
        return None
    sought, otherwise = values([keys, default])
    if keys.dtype == tf.string:
        fixed = tf.get_static_value(tf.convert_to_tensor(otherwise))
        if fixed is None:
            return None
        found = tables.constant(op, int(fixed)).lookup(sought)
        return tf.reshape(found, _shape(sought))  # the converter takes what a lookup gives for a scalar
    known, numbers = tables.content(op)
    equal = tf.equal(tf.expand_dims(sought, -1), known)
    number = tf.reduce_sum(tf.where(equal, numbers, tf.zeros_like(numbers)), axis=-1)
    return tf.where(tf.reduce_any(equal, axis=-1), number, otherwise)


def _size(op: tf.Operation, _: Values, tables: Tables) -> np.ndarray:
    return np.asarray(tables.size(op.inputs[0]), np.int64)


def _only_bucket(op: tf.Operation, values: Values, _: Tables) -> tf.Tensor | None:
    """A hash of strings into one bucket (a vocabulary with one place for unknown words) is 0."""
    import tensorflow as tf

    if op.get_attr("num_buckets") != 1:
        return None
    return tf.zeros(_shape(*values(op.inputs)), tf.int64)


def _upper_bound(op: tf.Operation, values: Values, _: Tables) -> tf.Tensor:
    """How many of the sorted numbers are not above each value."""
    import tensorflow as tf

    return _count(tf.less_equal, op, values)


def _lower_bound(op: tf.Operation, values: Values, _: Tables) -> tf.Tensor:
    """How many of the sorted numbers are below each value."""
    import tensorflow as tf

    return _count(tf.less, op, values)


def _count(compare: Callable[..., tf.Tensor], op: tf.Operation, values: Values) -> tf.Tensor:
    import tensorflow as tf

    rows, sought = values(op.inputs)
    below = compare(tf.expand_dims(rows, 1), tf.expand_dims(sought, 2))
    return tf.reduce_sum(tf.cast(below, op.outputs[0].dtype), axis=-1)


def _filled(op: tf.Operation, values: Values, _: Tables) -> np.ndarray | None:
    """Zeros or ones in the shape of a tensor, which is known here unless the batch is open."""
    shape = _known(*values(op.inputs))
    fill = np.zeros if op.type == "ZerosLike" else np.ones
    return None if shape is None else fill(shape, op.outputs[0].dtype.as_numpy_dtype)


def _known_shape(op: tf.Operation, values: Values, _: Tables) -> np.ndarray | None:
    shape = _known(*values(op.inputs))
    return None if shape is None else np.array(shape, op.outputs[0].dtype.as_numpy_dtype)


def _chosen(op: tf.Operation, values: Values, _: Tables) -> tf.Tensor | None:
    """One of two branches, where the choice does not depend on the example (whether a feature varies at all)."""
    import tensorflow as tf

    condition, yes, no = values(op.inputs)
    fixed = condition if isinstance(condition, np.ndarray) else tf.get_static_value(condition)
    if fixed is None or (fixed.any() and not fixed.all()):
        return None
    shapes = [shape for tensor in (condition, yes, no) if (shape := _known(tensor)) is not None]
    branch = yes if fixed.all() else no
    whole = np.broadcast_shapes(*shapes) if len(shapes) == 3 else None
    return branch if whole == _known(branch) else None


def _known(tensor: tf.Tensor | np.ndarray) -> tuple[int, ...] | None:
    """The shape, where the batch is not open."""
    import tensorflow as tf

    shape = tf.TensorShape(tensor.shape)
    return tuple(shape.as_list()) if shape.is_fully_defined() else None


def _shape(tensor: tf.Tensor) -> tf.Tensor | tuple[int, ...]:
    import tensorflow as tf

    shape = _known(tensor)
    return tf.shape(tensor) if shape is None else shape


RULES: dict[str, Callable[..., Any]] = {
    "LookupTableFindV2": _find,
    "LookupTableSizeV2": _size,
    "StringToHashBucketFast": _only_bucket,
    "UpperBound": _upper_bound,
    "LowerBound": _lower_bound,
    "ZerosLike": _filled,
    "OnesLike": _filled,
    "Shape": _known_shape,
    "Select": _chosen,
    "SelectV2": _chosen,
}
