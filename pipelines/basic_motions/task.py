"""Which of four activities a person wearing a smart watch is at, from ten seconds of six sensor channels.

Source: the data set BasicMotions of the UEA archive, as the package aeon ships it: A. Bagnall et al., "The UEA
multivariate time series classification archive, 2018" (2018). 40 recordings to train on and 40 to evaluate; the same
four students made both.
"""

from __future__ import annotations

from pathlib import Path

from tfx_edge.pipelines import time_series
from tfx_edge.pipelines.package_data import AEON
from tfx_edge.pipelines.task import Task
from tfx_edge.pipelines.tfrecords import write_split

_SPLITS = {"train": "TRAIN", "eval": "TEST"}


def write_examples(directory: Path) -> None:
    """Writes ``motion``, 100 steps of 6 channels row by row, and ``label``, 0 to 3."""
    for split, suffix in _SPLITS.items():
        text = AEON.read(f"aeon/datasets/data/BasicMotions/BasicMotions_{suffix}.ts").decode()
        recordings = time_series.parse(text)
        rows = zip(recordings.series, recordings.labels, strict=True)
        write_split(directory, split, ({"motion": series, "label": label} for series, label in rows))


TASK = Task(
    name="basic_motions",
    title="BasicMotions: activities from a smart watch",
    write_examples=write_examples,
    fetch=AEON.fetch,
    module="tfx_edge.pipelines.basic_motions.module",
    epochs=30,
    min_quality=0.8,
    max_drop=0.1,
    training={"epochs": 10, "batch_size": 8, "learning_rate": 1e-4},
)
