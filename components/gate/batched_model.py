"""A .tflite file that answers many examples at once, where that is the same as one at a time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfx_edge.devices.loaded_model import LoadedModel
from tfx_edge.errors import EdgeError

PROBE = 16
# Batched float kernels may add up in another order than those for one example.
TOLERANCE = 1e-5


class BatchedModel:
    """Runs a model by the largest batch that gives the answers which it gives by itself.

    A model for one example is resized to a batch, and kept so only when the answers for the first examples are those
    that it gives one by one: quantized ones exactly, floats within 1e-5 of the largest. Otherwise it runs one by one,
    as it does until a batch begins with examples that differ: others do not show whether a model mixes them up.

    Args:
      path: the .tflite file.
      batch_size: examples at a time, where the model takes any number of them.

    Raises:
      ModelError: the model cannot be loaded, or its inputs have no batch dimension.
    """

    def __init__(self, path: str, batch_size: int) -> None:
        self._batch_size = batch_size
        self._single: LoadedModel | None = None
        self._model = LoadedModel(path, 1)
        fixed = self._model.batch_size
        if fixed is None:
            self._model = _Resized(path, batch_size)
        elif fixed == 1 and batch_size > 1:
            self._single, self._model = self._model, _Resized(path, batch_size)

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs."""
        return list(self._model.inputs)

    @property
    def step(self) -> int | None:
        """The examples that one invocation takes; until the first run, those that are hoped for."""
        return self._model.batch_size

    def run(self, features: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs for a batch of features, as `LoadedModel.run` gives them."""
        if self._single is not None:
            probe = {name: values[:PROBE] for name, values in features.items()}
            if not any((values != values[:1]).any() for values in probe.values()):
                return self._single.run(features)
            if not _agree(self._single, self._model, probe):
                self._model = self._single
            self._single = None
        return self._model.run(features)


class _Resized(LoadedModel):
    """A model that is made to take a batch of a certain size."""

    def __init__(self, path: str, batch_size: int) -> None:
        super().__init__(path, 1)
        self._forced = batch_size

    @property
    def batch_size(self) -> int:
        return self._forced


def _agree(single: LoadedModel, resized: LoadedModel, probe: Mapping[str, np.ndarray]) -> bool:
    expected = single.run(probe)
    try:
        found = resized.run(probe)
    except EdgeError:
        return False
    return all(_same(values, found[name], single.outputs[name]["dtype"]) for name, values in expected.items())


def _same(expected: np.ndarray, found: np.ndarray, dtype: type) -> bool:
    if expected.shape != found.shape:
        return False
    finite = np.abs(expected[np.isfinite(expected)])
    tolerance = TOLERANCE * float(finite.max(initial=0)) if np.dtype(dtype).kind == "f" else 0.0
    return bool(np.allclose(expected, found, rtol=0, atol=tolerance, equal_nan=True))
