"""What the tests of both tasks on language need of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tfx_edge.errors import DataError
from tfx_edge.examples.tfrecord import read_records
from tfx_edge.pipelines.package_data import VADER


def fetch_or_skip() -> None:
    try:
        VADER.fetch()
    except DataError as error:
        pytest.skip(str(error))


def features_of(directory: Path, split: str) -> list[Any]:
    """The features of each example of a split, in order."""
    import tensorflow as tf

    records = read_records(str(directory / split / "examples.tfrecord"))
    return [tf.train.Example.FromString(record).features.feature for record in records]
