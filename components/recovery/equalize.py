"""Cross-layer equalization: channels of very different range made alike, in a float model that computes the same.

An int8 tensor has one scale, so a channel whose values are small against the others' keeps few of its 256 steps. When
two layers follow each other with nothing but a ReLU between, channel i of the first may be divided by any s_i > 0 and
the second's weights for it multiplied by s_i: the model computes the same. Method: Nagel, van Baalen, Blankevoort,
Welling, "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019).

The paper takes ``s_i = sqrt(r1_i / r2_i)``, where r1_i and r2_i are the greatest weights of channel i in the first and
the second layer, because its weights have one scale a tensor. Here weights have a scale for each output channel, so
the first layer's weights, and those of a depthwise second one, keep their precision whatever s is. What loses is the
tensor in between, which has one scale, and the weights of a second layer that sums over channels. So r1_i is the
greatest activation of channel i on calibration samples instead, and before a depthwise layer s_i is r1_i itself. A
channel that hardly stirs on them counts as if it reached a sixteenth of the largest: what wakes it would be clipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.errors import ModelError
from tfx_edge.lite.rewrite import Rewriter
from tfx_edge.recovery.layer_pairs import Pair, find_pairs
from tfx_edge.recovery.trials import Trials

TOLERANCE = 1e-4  # of the largest output: rounding in float32, in another order, stays below 1e-5
_SWEEPS = 50
_CONVERGED = 1e-3
_CEILING = 6.0
_QUIET = 1 / 16  # of the largest channel: samples may have missed what wakes a channel that reaches less
_MARGIN = 1.1  # by which an input that was never seen may exceed the calibration samples before a ReLU6 clips it


@dataclass(frozen=True)
class Equalized:
    """A float model whose channels were scaled.

    Attributes:
      content: the flatbuffer.
      pairs: the pairs of layers that were scaled, as ``first → second``.
      skipped: layers that begin no such pair, and why.
      sweeps: passes over all pairs until nothing moved.
      spread_before: the largest channel's range over the median one's, in the geometric mean over the pairs.
      spread_after: the same afterwards.
      difference: the largest change of an output on the samples, relative to the largest output.
    """

    content: bytes
    pairs: tuple[str, ...]
    skipped: Mapping[str, str]
    sweeps: int
    spread_before: float
    spread_after: float
    difference: float

    def to_dict(self) -> dict[str, Any]:
        """What was done, as values that JSON can carry."""
        return {name: value for name, value in vars(self).items() if name != "content"}


def equalize(path: str | Path, trials: Trials) -> Equalized:
    """Scales the channels of a float model until no pair of layers gains by more.

    Args:
      path: the float ``.tflite``.
      trials: calibration samples. They give the ranges of activations, show which channels a ReLU6 never clips, and
        prove that the model still computes the same.

    Raises:
      ModelError: no pair of layers can be scaled, or the scaled model computes something else.
      DataError: the samples do not fit the model.
    """
    model = Rewriter(path)
    pairs, skipped = find_pairs(model)
    if not pairs:
        listed = "; ".join(f"{name}: {why}" for name, why in [*skipped.items()][:5]) or "there is no layer with weights"
        raise ModelError(f"{path} has no two layers to equalize ({listed}); leave 'equalize' out of the methods")
    before = trials.outputs(Path(path))
    maxima = trials.channel_maxima(Path(path), [pair.output for pair in pairs])
    channels = [_Channels.of(pair, maxima[pair.output]) for pair in pairs]
    spread = _spread(channels)
    sweeps, moved = 0, np.inf
    while moved > _CONVERGED and sweeps < _SWEEPS:
        moved = max(_scale(model, pair, one) for pair, one in zip(pairs, channels, strict=True))
        sweeps += 1
    content = model.content()
    difference = _difference(before, trials.outputs(content))
    if not difference <= TOLERANCE:
        raise ModelError(
            f"equalizing {path} changed what it computes by {difference:.2g} of its largest output, more than "
            f"{TOLERANCE:g}; leave 'equalize' out of the methods"
        )
    fixed = {one.name: why for one in channels if (why := one.fixed)}
    return Equalized(
        content, tuple(map(str, pairs)), {**skipped, **fixed}, sweeps, spread, _spread(channels), difference
    )


@dataclass
class _Channels:
    """The channels between two layers: how far each reaches, which may be scaled, and how many a ReLU6 clips."""

    name: str
    reach: np.ndarray
    movable: np.ndarray
    clipped: int

    @classmethod
    def of(cls, pair: Pair, reach: np.ndarray) -> _Channels:
        clipped = reach * _MARGIN >= _CEILING if pair.clipped else np.zeros(len(reach), bool)
        movable = (reach > 0) & ~clipped
        return cls(
            pair.first.name, np.maximum(reach, _QUIET * reach.max()).astype(np.float64), movable, int(clipped.sum())
        )

    @property
    def fixed(self) -> str:
        """What keeps some channels as they are, or nothing."""
        if not self.clipped:
            return ""
        return f"{self.clipped} of {len(self.reach)} channels come near 6, where ReLU6 clips them, and stay as they are"


def _scale(model: Rewriter, pair: Pair, channels: _Channels) -> float:
    """Scales one pair; returns the greatest change of a channel, as a logarithm."""
    first, second = model.constant(pair.first.weights), model.constant(pair.second.weights)
    assert first is not None
    assert second is not None
    s = _factors(pair, channels, _greatest(second, pair, len(channels.reach)))
    model.set_constant(pair.first.weights, first / _along(s, pair.first.axis, first.ndim))
    if pair.first.bias is not None:
        bias = model.constant(pair.first.bias)
        assert bias is not None
        model.set_constant(pair.first.bias, bias / s)
    model.set_constant(pair.second.weights, second * _along(s[pair.second.channel], pair.second.axis, second.ndim))
    channels.reach = channels.reach / s
    return float(np.max(np.abs(np.log(s))))


def _factors(pair: Pair, channels: _Channels, weights: np.ndarray) -> np.ndarray:
    """By how much to divide every channel: shape (channels,), 1 where it is fixed or its weights are all zero."""
    s = np.ones(len(channels.reach))
    moved = channels.movable & (weights > 0)
    if not moved.any():
        return s
    reach = channels.reach[moved]
    ideal = reach if pair.depthwise else np.sqrt(reach / weights[moved])
    # One scale for all of them is free: the tensor keeps its range, or takes what no ReLU6 clips.
    top = _CEILING / _MARGIN if pair.clipped else float(np.max(reach))
    s[moved] = ideal * float(np.max(reach / ideal)) / top
    return s


def _greatest(weights: np.ndarray, pair: Pair, channels: int) -> np.ndarray:
    """The greatest magnitude of the second layer's weights for each channel: shape (channels,)."""
    others = tuple(axis for axis in range(weights.ndim) if axis != pair.second.axis)
    found = np.zeros(channels)
    np.maximum.at(found, pair.second.channel, np.max(np.abs(weights), axis=others))
    return found


def _along(values: np.ndarray, axis: int, dimensions: int) -> np.ndarray:
    return values.reshape([-1 if number == axis else 1 for number in range(dimensions)])


def _spread(channels: list[_Channels]) -> float:
    """The geometric mean over the tensors of largest to median channel."""
    ratios = [float(np.max(one.reach) / np.median(one.reach)) for one in channels if one.reach.any()]
    return float(np.exp(np.mean(np.log(ratios)))) if ratios else 1.0


def _difference(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> float:
    """The largest change of an output, relative to the largest value of that output."""
    changes = [
        float(np.max(np.abs(after[name] - values))) / max(float(np.max(np.abs(values))), 1e-30)
        for name, values in before.items()
    ]
    return float(np.max(changes))
