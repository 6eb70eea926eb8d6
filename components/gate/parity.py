"""Whether a target computes what this machine computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from tfx_edge.devices import local
from tfx_edge.devices.target import Target
from tfx_edge.errors import DataError, DeviceError, ModelError

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
      In units of the outputs.

    Raises:
      DataError: there are no examples.
      ModelError: the target or this machine cannot run the model, or it gives NaN or infinity on one of them.
      DeviceError: the target is absent, died, hung or answered nonsense.
    """
    examples = list(first_examples(batches, EXAMPLES))
    if not examples:
        raise DataError("there are no examples to compare the outputs on")
    own = local.infer(model, examples, timeout_s=timeout_s)
    pairs = zip(own, target.infer(model, examples, timeout_s), strict=True)
    return max(_difference(name, here[name], there[name]) for here, there in pairs for name in _names(here, there))


def first_examples(batches: Iterable[Mapping[str, np.ndarray]], count: int) -> Iterator[dict[str, np.ndarray]]:
    """The batches up to so many examples."""
    for batch in batches:
        taken = {name: values[:count] for name, values in batch.items()}
        yield taken
        count -= len(next(iter(taken.values())))
        if count <= 0:
            return


def _names(here: Mapping[str, np.ndarray], there: Mapping[str, np.ndarray]) -> list[str]:
    shapes = [{name: values.shape for name, values in outputs.items()} for outputs in (here, there)]
    if shapes[0] != shapes[1]:
        raise DeviceError(f"the target answered outputs of the shapes {shapes[1]}, this machine {shapes[0]}")
    return list(here)


def _difference(name: str, here: np.ndarray, there: np.ndarray) -> float:
    for values, where in ((here, "this machine"), (there, "the target")):
        if not np.isfinite(values).all():
            raise ModelError(f"the output {name!r} of the model holds NaN or infinity on {where}")
    return float(np.max(np.abs(here.astype(np.float64) - there), initial=0.0))
