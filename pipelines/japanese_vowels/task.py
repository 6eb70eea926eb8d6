"""Who of nine men says two Japanese vowels, from recorded speech: up to 30 frames of 12 LPC cepstrum coefficients.

Source: the data set JapaneseVowels of the UEA archive, as the package aeon ships it: M. Kudo, J. Toyama and M. Shimbo,
"Multidimensional curve classification using passing-through regions", Pattern Recognition Letters 20 (1999). 270
utterances to train on and 370 to evaluate, in its own split, by the same nine speakers.

An utterance has 7 to 29 frames and stands at the end of its example, after frames of zeros, as in the buffer of a
device that always holds the last 30. So the model needs neither the length nor a mask, which TFLite's operators do not
know: its last state is that after the last true frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.pipelines import time_series
from tfx_edge.pipelines.package_data import AEON
from tfx_edge.pipelines.task import Task
from tfx_edge.pipelines.tfrecords import write_split

FRAMES = 30
_SPLITS = {"train": "TRAIN", "eval": "TEST"}


def write_examples(directory: Path) -> None:
    """Writes ``cepstrum``, 30 frames of 12 coefficients row by row, and ``label``, 0 to 8."""
    for split, suffix in _SPLITS.items():
        write_split(directory, split, _examples(suffix))


def _examples(suffix: str) -> Iterator[dict[str, Any]]:
    text = AEON.read(f"aeon/datasets/data/JapaneseVowels/JapaneseVowels_{suffix}.ts").decode()
    utterances = time_series.parse(text)
    for frames, label in zip(utterances.series, utterances.labels, strict=True):
        yield {"cepstrum": at_end(frames), "label": label}


def at_end(frames: np.ndarray) -> np.ndarray:
    """The frames of an utterance, of shape (n, channels), after as many of zeros as make ``FRAMES``."""
    return np.pad(frames, ((FRAMES - len(frames), 0), (0, 0)))


TASK = Task(
    name="japanese_vowels",
    title="JapaneseVowels: who speaks",
    write_examples=write_examples,
    fetch=AEON.fetch,
    module="tfx_edge.pipelines.japanese_vowels.module",
    epochs=15,
    min_quality=0.9,
    max_drop=0.05,
    max_size_ratio={"int8": 0.3, "int4_weights": 0.2, "int4_blockwise": 0.2},
    inapplicable={"qat_int8": "TensorFlow Model Optimization has no rule for an LSTM, and the rest is one small layer"},
)
