"""Decodes serialized ``tf.Example`` records to NumPy arrays, as a schema of TensorFlow Metadata describes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.errors import DataError
from tfx_edge.examples.tfrecord import Open, read_records, shards


def read_schema(path: str | Path) -> Any:
    """The ``Schema`` of TensorFlow Metadata in a ``schema.pbtxt``."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    return text_format.Parse(Path(path).read_text(), schema_pb2.Schema())


class ExampleDecoder:
    """Decodes records in batches, by tfx_bsl's decoder.

    Args:
      schema: a ``Schema`` of TensorFlow Metadata.
    """

    def __init__(self, schema: Any) -> None:
        from tfx_bsl.coders import example_coder

        self.features = {feature.name: feature for feature in schema.feature}
        self._decoder = example_coder.ExamplesToRecordBatchDecoder(schema.SerializeToString())

    def decode(self, records: Sequence[bytes], names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """The values of features by name.

        A feature with a shape in the schema has shape (records, *shape). One without has shape (records, values), and
        every record must hold the same number of values. Strings are arrays of ``bytes`` objects.

        Args:
          records: serialized examples.
          names: the features to decode; all of the schema's by default.

        Raises:
          DataError: a record cannot be parsed, a feature is not in the schema, or a record has another number of values
            than its shape.
        """
        try:
            columns = self._decoder.DecodeBatch(list(records))
        except Exception as error:
            raise DataError(f"the examples cannot be decoded as the schema says: {error}") from error
        return {name: self._array(columns, name, len(records)) for name in names or self.features}

    def _array(self, columns: Any, name: str, records: int) -> np.ndarray:
        if name not in self.features:
            raise DataError(f"{name!r} is not a feature of the examples, which have {', '.join(sorted(self.features))}")
        feature, column = self.features[name], columns.column(columns.schema.get_field_index(name))
        counts = np.diff(np.asarray(column.offsets))
        shape = [dim.size for dim in feature.shape.dim] if feature.HasField("shape") else [int(counts[:1].sum())]
        wanted = int(np.prod(shape))
        wrong = np.flatnonzero(counts != wanted)
        if wrong.size or not wanted:
            raise DataError(
                f"feature {name!r} has {counts[wrong[0]] if wrong.size else 0} values in an example where "
                f"{wanted or 'some'} are needed: give it a fixed shape in Transform, or read it by an input_fn in the "
                "module file"
            )
        return column.flatten().to_numpy(zero_copy_only=False).reshape(records, *shape)


def read_batches(
    decoder: ExampleDecoder,
    patterns: Sequence[str],
    batch_size: int,
    names: Sequence[str] | None = None,
    open_file: Open | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """The examples of files in batches; only the last batch may be smaller.

    Args:
      decoder: what decodes them.
      patterns: glob patterns of TFRecord files.
      batch_size: examples in a batch.
      names: the features to decode; all of the schema's by default.
      open_file: as `read_records` takes it.

    Raises:
      DataError: a file is damaged, or its examples do not fit the schema.
    """
    records = itertools.chain.from_iterable(read_records(path, open_file) for path in shards(patterns))
    while batch := list(itertools.islice(records, batch_size)):
        yield decoder.decode(batch, names)
