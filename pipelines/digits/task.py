"""The digits of the demo as a task like the others: every preset of one float model."""

from __future__ import annotations

from pathlib import Path

from tfx_edge.pipelines.task import Task
from tfx_edge.pipelines.tfrecords import write_split

_EVALUATED = 4  # one of so many is kept for evaluation


def write_examples(directory: Path) -> None:
    """Writes ``pixels``, 64 floats from 0 to 16, and ``label``, 0 to 9; see `tfx_edge.pipelines.digits.data`."""
    from sklearn import datasets

    digits = datasets.load_digits()
    rows = [{"pixels": pixels, "label": label} for pixels, label in zip(digits.data, digits.target, strict=True)]
    write_split(directory, "train", (row for number, row in enumerate(rows) if number % _EVALUATED))
    write_split(directory, "eval", rows[::_EVALUATED])


TASK = Task(
    name="digits",
    title="Digits: handwritten digits of 8×8 pixels",
    write_examples=write_examples,
    module="tfx_edge.pipelines.digits.module",
    epochs=20,
    max_drop=0.02,
    training={"epochs": 5, "learning_rate": 1e-4},
)
