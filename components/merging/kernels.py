"""Convolutions and dense layers as one kind of thing: a kernel at places of a grid, which can be scaled."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import tf_keras

from tfx_edge.merging.graph import Node, Shape, Unit

KL = tf_keras.layers
_CONVOLUTIONS = {1: KL.Conv1D, 2: KL.Conv2D, 3: KL.Conv3D}
_DEPTHWISE = {1: KL.DepthwiseConv1D, 2: KL.DepthwiseConv2D}
_UNKNOWN_SIZE = 32


@dataclass(frozen=True)
class Kernel:
    """A linear layer without activation: ``y[p] = bias + sum over taps t of weights[t] x[p * strides + t * dilation]``.

    A dense layer has no spatial dimensions, and so no taps but one.

    Attributes:
      weights: (spatial sizes..., inputs / groups, outputs), float64; outputs are ordered by group.
      bias: (outputs), float64.
      strides: by spatial dimension.
      dilation: by spatial dimension.
      padding: ``same`` or ``valid``.
      groups: inputs / groups channels feed outputs / groups channels.
    """

    weights: np.ndarray
    bias: np.ndarray
    strides: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    padding: str = "valid"
    groups: int = 1

    @property
    def sizes(self) -> tuple[int, ...]:
        """Taps by spatial dimension."""
        return self.weights.shape[:-2]

    @property
    def rank(self) -> int:
        """Spatial dimensions."""
        return self.weights.ndim - 2

    @property
    def inputs(self) -> int:
        """Channels that it reads."""
        return int(self.weights.shape[-2]) * self.groups

    @property
    def outputs(self) -> int:
        """Channels that it gives."""
        return int(self.weights.shape[-1])

    @property
    def pointwise(self) -> bool:
        """Whether every place is computed from itself alone."""
        return math.prod(self.sizes) == 1 and math.prod(self.strides) == 1

    @property
    def geometry(self) -> tuple[object, ...]:
        """What must be equal for kernels to lie side by side."""
        return self.sizes, self.strides, self.dilation, self.padding

    def scaled(self, scale: np.ndarray, shift: np.ndarray) -> Kernel:
        """The same with every output channel multiplied, then shifted."""
        return dataclasses.replace(self, weights=self.weights * scale, bias=self.bias * scale + shift)

    def after_scaling(self, scale: np.ndarray, shift: np.ndarray) -> Kernel | None:
        """The same on inputs that are multiplied and shifted first; None where a shift would reach the padding."""
        if self.groups > 1 or (self.padding == "same" and math.prod(self.sizes) > 1 and np.any(shift)):
            return None
        bias = self.bias + np.tensordot(self.weights.sum(axis=tuple(range(self.rank))), shift, ((0,), (0,)))
        return dataclasses.replace(self, weights=self.weights * scale[:, None], bias=bias)

    def ungrouped(self) -> Kernel:
        """The same in one group, with zeros between the groups."""
        if self.groups == 1:
            return self
        width, height = self.inputs // self.groups, self.outputs // self.groups
        weights = np.zeros((*self.sizes, self.inputs, self.outputs))
        for group in range(self.groups):
            columns = slice(group * height, (group + 1) * height)
            weights[..., group * width : (group + 1) * width, columns] = self.weights[..., columns]
        return dataclasses.replace(self, weights=weights, groups=1)

    def macs(self, output: Shape) -> int:
        """Multiply-accumulates for one example with outputs of a shape."""
        return self.weights.size * math.prod(size or _UNKNOWN_SIZE for size in output[1:-1])

    def unit(self) -> Unit:
        """The layer that computes it."""
        biased = bool(np.any(self.bias))
        config: dict[str, object] = {"use_bias": biased}
        weights = self.weights
        cls = KL.Dense
        if self.rank == 0:
            config |= {"units": self.outputs}
        else:
            config |= {"kernel_size": self.sizes, "strides": self.strides}
            config |= {"padding": self.padding, "dilation_rate": self.dilation}
            if 1 < self.groups == self.inputs and self.rank in _DEPTHWISE:
                cls = _DEPTHWISE[self.rank]
                config["depth_multiplier"] = self.outputs // self.inputs
                weights = weights.reshape(*self.sizes, self.inputs, -1)
            else:
                cls = _CONVOLUTIONS[self.rank]
                config |= {"filters": self.outputs, "groups": self.groups}
        arrays = [weights, self.bias] if biased else [weights]
        return Unit(cls, config, [array.astype(np.float32) for array in arrays])


def kernel_of(node: Node | None) -> Kernel | None:
    """What a node computes as a kernel; None where it is none, or has an activation, a mask or another type."""
    if node is None or len(node.values()) != 1 or not _plain(node):
        return None
    unit, rank = node.unit, len(node.values()[0].shape) - 2
    config = unit.config
    depthwise = _DEPTHWISE.get(rank) is unit.cls
    if unit.cls is not KL.Dense and not depthwise and _CONVOLUTIONS.get(rank) is not unit.cls:
        return None
    if (config.get("activation") or "linear") != "linear":
        return None
    weights = unit.weights[0].astype(np.float64)
    if unit.cls is KL.Dense:
        return Kernel(weights, _bias(unit, weights.shape[-1]))
    if config.get("data_format", "channels_last") != "channels_last" or config["padding"] not in ("same", "valid"):
        return None
    groups = int(config.get("groups") or 1)
    if depthwise:
        groups = weights.shape[-2]
        weights = weights.reshape(*weights.shape[:-2], 1, -1)
    strides, dilation = (_by_dimension(config[key], rank) for key in ("strides", "dilation_rate"))
    return Kernel(weights, _bias(unit, weights.shape[-1]), strides, dilation, config["padding"], groups)


def scaling_of(node: Node | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Scale and shift, (channels), of a node that multiplies and shifts each channel at inference; None for others."""
    if node is None or len(node.values()) != 1 or not _plain(node):
        return None
    value, config = node.values()[0], node.unit.config
    channels = value.shape[-1]
    if channels is None:
        return None
    if node.unit.cls is KL.Rescaling:
        try:
            pair = [np.broadcast_to(np.asarray(config[key], np.float64), (channels,)) for key in ("scale", "offset")]
        except ValueError:
            return None
        return pair[0], pair[1]
    axis = config.get("axis")
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    if node.unit.cls is not KL.BatchNormalization or list(axes) not in ([-1], [len(value.shape) - 1]):
        return None
    arrays = [array.astype(np.float64) for array in node.unit.weights]
    gamma = arrays.pop(0) if config["scale"] else np.ones(channels)
    beta = arrays.pop(0) if config["center"] else np.zeros(channels)
    mean, variance = arrays
    scale = gamma / np.sqrt(variance + config["epsilon"])
    return scale, beta - mean * scale


def _plain(node: Node) -> bool:
    """Whether the node computes in float32 without masks."""
    values = [*node.values(), *node.outputs]
    return all(value.dtype == "float32" and not value.masked for value in values) and not node.kwargs


def _bias(unit: Unit, channels: int) -> np.ndarray:
    return unit.weights[1].astype(np.float64) if len(unit.weights) > 1 else np.zeros(channels)


def _by_dimension(value: object, rank: int) -> tuple[int, ...]:
    if isinstance(value, (list, tuple)):
        return tuple(int(item) for item in value) if len(value) == rank else (int(value[0]),) * rank
    return (int(value),) * rank  # type: ignore[call-overload]
