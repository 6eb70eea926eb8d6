"""Whether people found a tweet, or a sentence of a review of a film or a product, positive or negative.

Source: see `tfx_edge.pipelines.snippets`. The class is the sign of the mean rating. Texts that people rated no further
than ``NEUTRAL`` from 0 are left out, since their sign is chance.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfx_edge.pipelines import snippets
from tfx_edge.pipelines.package_data import VADER
from tfx_edge.pipelines.sentiment.tokens import ids
from tfx_edge.pipelines.snippets import SOURCES, Snippet
from tfx_edge.pipelines.task import Task
from tfx_edge.pipelines.tfrecords import write_split

NEUTRAL = 0.5
"""On the scale from -4 to 4."""

_EMBEDDING_IN_INT8 = {"layers": "/embedding_lookup", "precision": "int8"}  # else it takes 16 bits a weight


def opinions() -> list[Snippet]:
    """Every text with an opinion, once.

    Raises:
      DataError: the package is not there.
    """
    every = [each for source in SOURCES for each in snippets.read(source)]
    return [each for each in snippets.distinct(every) if abs(each.rating) > NEUTRAL]


def write_examples(directory: Path) -> None:
    """Writes ``tokens``, 48 ids, ``label``, 0 for negative and 1 for positive, and the ``text`` and its ``source``."""
    found = opinions()
    for split in ("train", "eval"):
        write_split(directory, split, (_example(each) for each in found if each.split == split))


def _example(snippet: Snippet) -> dict[str, Any]:
    return {
        "tokens": ids(snippet.text),
        "label": int(snippet.rating > 0),
        "text": snippet.text,
        "source": snippet.source,
    }


TASK = Task(
    name="sentiment",
    title="Sentiment: positive or negative short texts",
    write_examples=write_examples,
    fetch=VADER.fetch,
    module="tfx_edge.pipelines.sentiment.module",
    epochs=3,
    min_quality=0.75,
    max_drop=0.01,
    recipes={"int16x8": {"overrides": (_EMBEDDING_IN_INT8,)}},
    training={"epochs": 1, "batch_size": 64, "learning_rate": 1e-4},
)
