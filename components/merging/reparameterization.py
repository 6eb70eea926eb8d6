"""Kernels that are added, or that follow each other, as one kernel.

Structural re-parameterization: X. Ding et al., "RepVGG: Making VGG-style ConvNets Great Again", CVPR 2021 (branches
that are added), and "Diverse Branch Block: Building a Convolution as an Inception-like Unit", CVPR 2021 (in a row).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from tfx_edge.merging.graph import Shape
from tfx_edge.merging.kernels import Kernel


def identity_like(kernel: Kernel, scale: np.ndarray, shift: np.ndarray) -> Kernel | None:
    """A pointwise kernel of the rank of another one that scales and shifts; None if the other moves places."""
    if math.prod(kernel.strides) != 1:
        return None
    channels, ones = len(scale), (1,) * kernel.rank
    weights = scale.reshape(*ones, 1, channels)
    return Kernel(weights, shift, ones, ones, "same" if kernel.rank else "valid", channels)


def added(kernels: list[Kernel], source: Shape, output: Shape) -> Kernel | None:
    """The sum of kernels that read the same tensor.

    The sum is as large as the largest kernel by each dimension; every other one must lie on a part of its taps.

    Args:
      kernels: of one rank.
      source: shape of the tensor.
      output: shape of what each of them gives.

    Returns:
      None where there is no such kernel, or it would take more multiplications than all of them.
    """
    first = kernels[0]
    if any((kernel.rank, kernel.strides) != (first.rank, first.strides) for kernel in kernels):
        return None
    sizes = tuple(max(kernel.sizes[axis] for kernel in kernels) for axis in range(first.rank))
    frames = [kernel for kernel in kernels if kernel.sizes == sizes] or [
        dataclasses.replace(kernel, weights=np.zeros((*sizes, 1, 1))) for kernel in kernels if kernel.padding == "same"
    ]
    if not frames:
        return None
    frame = next((kernel for kernel in frames if math.prod(kernel.dilation) > 1), frames[0])
    if len({kernel.groups for kernel in kernels}) > 1:
        kernels = [kernel.ungrouped() for kernel in kernels]
    total = np.zeros((*sizes, *kernels[0].weights.shape[-2:]))
    for kernel in kernels:
        places = _places(kernel, frame, source)
        if places is None:
            return None
        total[places] += kernel.weights
    bias = np.sum([kernel.bias for kernel in kernels], axis=0)
    return dataclasses.replace(frame, weights=total, bias=bias, groups=kernels[0].groups)


def followed(first: Kernel, second: Kernel) -> Kernel | None:
    """Two kernels in a row as one; None where one of them is not pointwise, or padding lies between them."""
    if first.rank != second.rank or first.groups > 1 or second.groups > 1:
        return None
    mixing = np.tensordot(first.weights, second.weights, ((-1,), (-2,)))
    if second.pointwise:
        weights = mixing.reshape(*first.sizes, first.inputs, second.outputs)
        bias = second.bias + first.bias @ second.weights.reshape(first.outputs, second.outputs)
        return dataclasses.replace(first, weights=weights, bias=bias)
    if not first.pointwise or (second.padding == "same" and np.any(first.bias)):
        return None
    # (1, ..., inputs, taps..., outputs) to (taps..., inputs, outputs)
    weights = np.moveaxis(mixing.reshape(first.inputs, *second.sizes, second.outputs), 0, -2)
    taps = second.weights.sum(axis=tuple(range(second.rank)))
    return dataclasses.replace(second, weights=weights, bias=second.bias + first.bias @ taps)


def _places(kernel: Kernel, frame: Kernel, source: Shape) -> tuple[slice, ...] | None:
    """Where the taps of a kernel lie among those of a frame."""
    places = []
    for axis, (taps, wanted) in enumerate(zip(frame.sizes, kernel.sizes, strict=True)):
        befores = [_padded_before(each, axis, source[1 + axis]) for each in (frame, kernel)]
        step = frame.dilation[axis]
        if befores[0] is None or befores[1] is None or (wanted > 1 and kernel.dilation[axis] != step):
            return None
        start, rest = divmod(befores[0] - befores[1], step)
        if rest or start < 0 or start + wanted > taps:
            return None
        places.append(slice(start, start + wanted))
    return tuple(places)


def _padded_before(kernel: Kernel, axis: int, size: int | None) -> int | None:
    """Zeros before the first place, as TensorFlow pads; None where that depends on a size that is not known."""
    extent = (kernel.sizes[axis] - 1) * kernel.dilation[axis] + 1
    stride = kernel.strides[axis]
    if kernel.padding == "valid":
        return 0
    if stride == 1:
        return (extent - 1) // 2
    if size is None:
        return None
    return max((-(-size // stride) - 1) * stride + extent - size, 0) // 2
