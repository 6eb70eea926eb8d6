"""Reading examples without TensorFlow gives what TensorFlow and TFX read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.public import tfxio

from tfx_edge.errors import DataError
from tfx_edge.examples.decoding import ExampleDecoder, read_batches
from tfx_edge.examples.tfrecord import read_records

SCHEMA = """
feature {
  name: "image" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 2 } dim { size: 3 } }
}
feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
feature { name: "word" type: BYTES presence { min_fraction: 1 min_count: 1 } shape {} }
feature { name: "loose" type: INT }
"""


def schema() -> Any:
    return text_format.Parse(SCHEMA, schema_pb2.Schema())


def example(number: int, loose: int = 2) -> bytes:
    feature = {
        "image": tf.train.Feature(float_list=tf.train.FloatList(value=np.arange(6) + number)),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[number])),
        "word": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"w%d" % number])),
        "loose": tf.train.Feature(int64_list=tf.train.Int64List(value=[number] * loose)),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def write(path: Path, records: list[bytes], compression: str = "") -> Path:
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for record in records:
            writer.write(record)
    return path


@pytest.mark.parametrize(("name", "compression"), [("data.tfrecord", ""), ("data.gz", "GZIP")])
@given(records=st.lists(st.binary(max_size=300), max_size=5))
@settings(max_examples=20)
def test_records_are_read_as_tensorflow_wrote_them(
    records: list[bytes], name: str, compression: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.mktemp("records") / name, records, compression)
    assert list(read_records(str(path))) == records


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_a_damaged_file_is_named_and_never_read_as_other_records(tmp_path: Path, compression: str) -> None:
    records = [example(1), example(2)]
    path = write(tmp_path / ("data.gz" if compression else "data"), records, compression)
    content = path.read_bytes()
    for position in range(12, len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :])
        with pytest.raises(DataError, match=f"{path} is damaged or no TFRecord file"):
            list(read_records(str(path)))
    path.write_bytes(content[:-9])
    with pytest.raises(DataError, match="damaged"):
        list(read_records(str(path)))


def test_a_lost_shard_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "data-00000-of-00002.gz", [example(1)], "GZIP")
    with pytest.raises(DataError, match=r"of 2 shards .*data-\*-of-00002\.gz there are 1, and number 1 is missing"):
        next(read_batches(ExampleDecoder(schema()), [str(tmp_path / "*")], batch_size=4))


def test_batches_equal_those_of_tfx(tmp_path: Path) -> None:
    for shard in range(2):
        write(tmp_path / f"part-{shard}.gz", [example(10 * shard + i) for i in range(5)], "GZIP")
    pattern = str(tmp_path / "*")
    ours = list(read_batches(ExampleDecoder(schema()), [pattern], batch_size=4, names=["image", "label", "word"]))
    options = tfxio.TensorFlowDatasetOptions(batch_size=4, num_epochs=1, shuffle=False, drop_final_batch=False)
    theirs = tfxio.TFExampleRecord(pattern, schema=schema(), telemetry_descriptors=["test"]).TensorFlowDataset(options)
    for mine, batch in zip(ours, theirs.as_numpy_iterator(), strict=True):
        for name, values in mine.items():
            np.testing.assert_array_equal(values, batch[name])
            assert values.dtype == batch[name].dtype or values.dtype == object


def test_a_feature_without_a_shape_is_dense_where_every_example_has_as_many_values() -> None:
    decoder = ExampleDecoder(schema())
    assert decoder.decode([example(1), example(2)], ["loose"])["loose"].tolist() == [[1, 1], [2, 2]]
    with pytest.raises(DataError, match=r"'loose' has 3 values in an example where 2 are needed.*input_fn"):
        decoder.decode([example(1), example(2, loose=3)], ["loose"])


def test_what_does_not_fit_the_schema_is_named() -> None:
    decoder = ExampleDecoder(schema())
    with pytest.raises(DataError, match="'size' is not a feature of the examples, which have image, label, loose"):
        decoder.decode([example(1)], ["size"])
    with pytest.raises(DataError, match="cannot be decoded as the schema says"):
        decoder.decode([b"nonsense"], ["label"])
    with pytest.raises(DataError, match="'label' has 0 values in an example where 1 are needed"):
        decoder.decode([tf.train.Example().SerializeToString()], ["label"])


@pytest.mark.parametrize("work", ["quantizer", "pruner", "distiller", "edge_evaluator"])
def test_stages_start_without_tfx_and_tensorflow(work: str) -> None:
    heavy = f"import sys, tfx_edge.{work}.work; print({{'tensorflow', 'tfx', 'apache_beam'}} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
