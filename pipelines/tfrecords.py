"""Writes the examples of a split for ImportExampleGen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def write_split(directory: Path, split: str, examples: Iterable[Mapping[str, Any]]) -> None:
    """Writes ``<directory>/<split>/examples.tfrecord``; a file that is there is kept, so that TFX's cache knows it.

    Args:
      directory: of all splits.
      split: ``train`` or ``eval``.
      examples: the features of each by name: numbers, an array of numbers (which is flattened), text or bytes.
    """
    import tensorflow as tf

    path = directory / split / "examples.tfrecord"
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = directory / f"{split}.part"
    with tf.io.TFRecordWriter(str(temporary)) as writer:
        for features in examples:
            converted = {name: _feature(value) for name, value in features.items()}
            writer.write(
                tf.train.Example(features=tf.train.Features(feature=converted)).SerializeToString(deterministic=True)
            )
    temporary.replace(path)


def _feature(value: Any) -> Any:
    import tensorflow as tf

    if isinstance(value, (str, bytes)):
        data = value.encode() if isinstance(value, str) else value
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))
    array = np.ravel(value)
    if np.issubdtype(array.dtype, np.integer):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=array))
    return tf.train.Feature(float_list=tf.train.FloatList(value=array))
