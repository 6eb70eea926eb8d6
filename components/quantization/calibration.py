"""Learns from examples the range of every activation, which static quantization divides into integer steps.

The result is what litert-quantizer's ``Quantizer.quantize`` takes. Its own calibration knows one method, a moving
average of each example's extremes, which takes all examples into memory and shrinks a tensor of one number to nearly a
point. Its MSE and OCTAV algorithms clip weights alone, and its histogram, with bins of equal width of 1e-5 at least, is
used nowhere. So the methods are here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.errors import DataError
from tfx_edge.models.features import select_features
from tfx_edge.quantization.activations import ActivationReader, Activations, Entry
from tfx_edge.quantization.histogram import Histogram
from tfx_edge.quantization.observers import Extremes, MovingAverage
from tfx_edge.quantization.recipe import Calibration

Statistics = dict[str, dict[str, np.ndarray]]
"""Tensor name to ``min`` and ``max``, each an array of one number with as many dimensions as the tensor."""
Range = tuple[float, float]
_Observer = Extremes | MovingAverage | Histogram
_UNBOUNDED = 3e38  # as in litert-quantizer: what is beyond is a mask or padding, and needs no place in the range


@dataclass(frozen=True)
class CalibratedInput:
    """What a feature feeds.

    Attributes:
      range: of the input; None where it is not of float numbers.
      scaled: of what the model makes of it by arithmetic with constants alone, as a normalisation layer does; None
        where it does nothing of the kind.
    """

    range: Range | None
    scaled: Range | None


@dataclass(frozen=True)
class Calibrated:
    """What calibration found.

    Attributes:
      statistics: the ranges over all examples, as litert-quantizer takes them.
      halves: range by name of tensor, over every second example from the first and from the second on; the latter has
        none when there is one example.
      inputs: what each feature feeds that the model takes, by the name of the feature.
      examples: how many there were.
    """

    statistics: Statistics
    halves: tuple[Mapping[str, Range], Mapping[str, Range]]
    inputs: Mapping[str, CalibratedInput]
    examples: int


def calibrate(
    path: str | Path,
    samples: Iterable[dict[str, np.ndarray]],
    settings: Calibration = Calibration(),  # noqa: B008  (immutable)
    bits: int = 8,
) -> Statistics:
    """The range of every activation; arguments and errors are those of `calibrate_halves`."""
    return calibrate_halves(path, samples, settings, bits).statistics


def calibrate_halves(
    path: str | Path,
    samples: Iterable[dict[str, np.ndarray]],
    settings: Calibration = Calibration(),  # noqa: B008  (immutable)
    bits: int = 8,
) -> Calibrated:
    """The range of every activation over all examples, and over each half of them, in one pass.

    Examples are read one by one, and memory does not grow with their number. Every signature is run whose inputs the
    first example has. Recurrent layers and variables start each example anew.

    Args:
      path: a float ``.tflite``.
      samples: examples one a time: feature name to array, with a first dimension of 1.
      settings: the method. Only extremes can be had of tensors inside loops and branches, so these get ``min_max``.
      bits: of the activations to be, 8 or 16, for method ``mse``: how far clipping pays depends on it.

    Raises:
      DataError: there are no examples, one does not fit the model, or an activation is not finite.
      ModelError: the file cannot be read or loaded.
    """
    reader = ActivationReader(path)
    whole, halves = _Ranges(settings, bits), (_Ranges(settings, bits), _Ranges(settings, bits))
    entries: list[Entry] = []
    count, sample = 0, dict[str, np.ndarray]()
    for count, sample in enumerate(samples, 1):
        entries = entries or reader.fed_by(sample)
        for name, dimensions, seen in _observe(reader.read(sample, entries), settings, count):
            whole.add(name, dimensions, seen)
            halves[(count - 1) % 2].add(name, dimensions, seen)
    if not count:
        raise DataError(f"{path} cannot be calibrated without examples: give a split that has some")
    ranges = whole.ranges()
    inputs = {name: fed for entry in entries for name, fed in _inputs(entry, sample, ranges).items()}
    return Calibrated(whole.statistics(), (halves[0].ranges(), halves[1].ranges()), inputs, count)


def _observe(found: Activations, settings: Calibration, number: int) -> Iterator[tuple[str, int, _Observer]]:
    """Name, dimensions and observer of each tensor, for one example."""
    kinds: dict[str, type[MovingAverage] | type[Histogram]] = {
        "moving_average": MovingAverage,
        "percentile": Histogram,
        "mse": Histogram,
    }
    kind = kinds.get(settings.method)
    for name, values in found.values.items():
        low, high = _check(name, float(values.min()), float(values.max()), number)
        if max(-low, high) > _UNBOUNDED:
            bounded = values[np.abs(values) < _UNBOUNDED]
            values = bounded if bounded.size else values
            low, high = float(values.min()), float(values.max())
        yield name, values.ndim, kind(values) if kind else Extremes(low, high)
    for name, (low, high) in found.extremes.items():
        yield name, 1, Extremes(*_check(name, low, high, number))


def _check(name: str, low: float, high: float, number: int) -> Range:
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(
            f"calibration example {number} makes tensor {name!r} NaN or infinite (its values go from {low} to {high}), "
            "so that it has no range: look for missing or extreme values in that example, and for a division or "
            "logarithm of 0 in the model"
        )
    return low, high


def _inputs(entry: Entry, features: Iterable[str], ranges: Mapping[str, Range]) -> dict[str, CalibratedInput]:
    names = {index: name for name, index in entry.tensors.items()}
    fed = select_features({feature: feature for feature in features}, list(entry.inputs))
    return {
        feature: CalibratedInput(ranges.get(names.get(entry.inputs[name], "")), ranges.get(entry.scaled.get(name, "")))
        for name, feature in fed.items()
    }


class _Ranges:
    """The observers of all tensors over some examples."""

    def __init__(self, settings: Calibration, bits: int) -> None:
        self._settings = settings
        self._bits = bits
        self._observers: dict[str, _Observer] = {}
        self._dimensions: dict[str, int] = {}

    def add(self, name: str, dimensions: int, seen: _Observer) -> None:
        """Adds what one example showed of a tensor."""
        if name not in self._observers:
            self._observers[name], self._dimensions[name] = type(seen)(), dimensions
        observer: Any = self._observers[name]  # of the same kind every time
        observer.merge(seen)

    def ranges(self) -> dict[str, Range]:
        """By name of tensor, by the chosen method."""
        return {name: self._range(observer) for name, observer in self._observers.items()}

    def statistics(self) -> Statistics:
        """The same as litert-quantizer takes it."""
        return {
            name: {
                end: np.full((1,) * self._dimensions[name], value, np.float32)
                for end, value in zip(("min", "max"), ends, strict=True)
            }
            for name, ends in self.ranges().items()
        }

    def _range(self, observer: _Observer) -> Range:
        if not isinstance(observer, Histogram):
            return observer.range()
        if self._settings.method == "percentile":
            return observer.central_range(self._settings.percentile)
        return observer.least_error_range(self._bits)
