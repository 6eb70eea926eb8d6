"""Whether a target computes what this machine computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from tfx_edge.devices import local
from tfx_edge.devices.target import Target
from tfx_edge.errors import DataError

EXAMPLES = 32


def output_difference(
    target: Target, model: Path, batches: Iterable[Mapping[str, np.ndarray]], timeout_s: float
) -> float:
    """The largest absolute difference between any output of a target and of this machine.

    Args:
      target: one that offers ``"infer"``.
      model: a .tflite file.
      batches: features by name, of which the first 32 examples are taken.
      timeout_s: seconds that one process may take.

    Returns:
      In units of the outputs; NaN when one of the two gave NaN where the other did not.

    Raises:
      DataError: there are no examples.
      ModelError: the target or this machine cannot run the model.
      DeviceError: the target is absent, died, hung or answered nonsense.
    """
    examples = list(first_examples(batches, EXAMPLES))
    if not examples:
        raise DataError("there are no examples to compare the outputs on")
    differences = [
        _difference(here[name], there[name])
        for here, there in zip(
            local.infer(model, examples, timeout_s=timeout_s), target.infer(model, examples, timeout_s), strict=True
        )
        for name in here
    ]
    return float(np.max(differences))


def first_examples(batches: Iterable[Mapping[str, np.ndarray]], count: int) -> Iterator[dict[str, np.ndarray]]:
    """The batches up to so many examples."""
    for batch in batches:
        taken = {name: values[:count] for name, values in batch.items()}
        yield taken
        count -= len(next(iter(taken.values())))
        if count <= 0:
            return


def _difference(here: np.ndarray, there: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        same = (here == there) | (np.isnan(here) & np.isnan(there))
        return float(np.max(np.where(same, 0.0, np.abs(here.astype(np.float64) - there)), initial=0.0))
