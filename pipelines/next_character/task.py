"""Which character comes next in sentences of film reviews, given those before it.

Source: the film reviews of `tfx_edge.pipelines.snippets`; their ratings are not used. A sentence is in one split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from tfx_edge.pipelines import snippets
from tfx_edge.pipelines.next_character import characters
from tfx_edge.pipelines.package_data import VADER
from tfx_edge.pipelines.task import Task
from tfx_edge.pipelines.tfrecords import write_split

Split = Literal["train", "eval"]

STEPS: Mapping[Split, int] = {"train": 4, "eval": 15}
"""One of so many characters is an example, counted through the whole split."""

_EMBEDDING_IN_INT8 = {"layers": "/embedding_lookup", "precision": "int8"}  # else it takes 16 bits a weight
_SCORES_IN_INT8 = {"layers": "^StatefulPartitionedCall", "precision": "dynamic_int8"}


def write_examples(directory: Path, steps: Mapping[Split, int] = STEPS) -> None:
    """Writes ``context``, the ids of the characters before, and ``label``, the id of the character to be told.

    Args:
      directory: where the splits go; one that is there is kept.
      steps: one of so many characters is an example.

    Raises:
      DataError: the package is not there.
    """
    texts = sentences()
    for split, step in steps.items():
        write_split(directory, split, _examples(texts[split], step))


def sentences() -> dict[Split, list[str]]:
    """The clean sentences of each split.

    Raises:
      DataError: the package is not there.
    """
    found: dict[Split, list[str]] = {"train": [], "eval": []}
    for each in snippets.distinct(snippets.read("movies")):
        found[each.split].append(characters.clean(each.text))
    return found


def _examples(texts: list[str], step: int) -> Iterator[dict[str, Any]]:
    start = 0
    for text in texts:
        numbers = characters.ids(text)
        for position in range(start, len(numbers), step):
            yield {"context": characters.context(numbers, position), "label": numbers[position]}
        start = (start - len(numbers)) % step


TASK = Task(
    name="next_character",
    title="Next character: a language model of film reviews",
    write_examples=write_examples,
    fetch=VADER.fetch,
    module="tfx_edge.pipelines.next_character.module",
    epochs=4,
    min_quality=0.45,
    max_drop=0.01,
    recipes={
        "int16x8": {"overrides": (_EMBEDDING_IN_INT8,)},
        "int4_weights": {"overrides": (_SCORES_IN_INT8,)},
    },
    training={"epochs": 1, "batch_size": 256, "learning_rate": 1e-4},
    gate={"metrics": ("log_loss",)},
)
