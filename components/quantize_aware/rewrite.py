"""Layers computed by others that quantization-aware training supports, exactly, with the weights that make it so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tf_keras

from tfx_edge.models.graph_copy import Layer, remade
from tfx_edge.quantize_aware.plan import APART, FUSED, ONE_ROW, Plan, sloping

KL = tf_keras.layers


@dataclass(frozen=True)
class Part:
    """One of the layers that take a layer's place, one after the other.

    Attributes:
      layer: a new layer.
      weights: what it is filled with, once it is built.
      quantized: whether it is annotated.
    """

    layer: Layer
    weights: Sequence[np.ndarray] = ()
    quantized: bool = True


def parts(plan: Plan, normalization: Layer | None) -> list[Part]:
    """The layers that take the place of one that becomes int8.

    Args:
      plan: of the layer.
      normalization: a batch normalization after it that is merged into it, or None.
    """
    layer = plan.layer
    if isinstance(layer, KL.BatchNormalization) and not plan.folds:
        return _normalized(layer)
    if isinstance(layer, KL.TimeDistributed):
        layer = remade(layer.layer, name=layer.name)
    if sloping(layer):
        return [Part(KL.LeakyReLU(layer.negative_slope, name=layer.name))]
    if isinstance(layer, KL.Rescaling):
        return [
            Part(KL.Rescaling(layer.scale, name=layer.name)),
            *([Part(KL.Rescaling(1.0, layer.offset, name=f"{layer.name}_offset"))] if layer.offset else []),
        ]
    changes: dict[str, Any] = {}
    weights, tail = plan.layer.get_weights(), []
    if normalization is not None:
        changes["use_bias"] = True
        weights = _merged(layer, normalization)
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    if weights and activation not in FUSED:
        changes["activation"] = "linear"
        apart = KL.ReLU(6.0) if activation == "relu6" else KL.Activation(layer.activation)
        apart._name = f"{layer.name}_{activation}"
        tail = [Part(apart, quantized=activation in APART)]
    if type(layer) in ONE_ROW:
        return [*_over_one_row(layer, weights, changes), *tail]
    return [Part(remade(layer, **changes), weights), *tail]


def _affine(normalization: Layer) -> tuple[np.ndarray, np.ndarray]:
    """Factor and offset of a batch normalization in inference, one a channel."""
    mean, variance = normalization.moving_mean.numpy(), normalization.moving_variance.numpy()
    factor = 1.0 / np.sqrt(variance + normalization.epsilon)
    if normalization.scale:
        factor = factor * normalization.gamma.numpy()
    offset = -mean * factor
    if normalization.center:
        offset = offset + normalization.beta.numpy()
    return factor.astype(mean.dtype), offset.astype(mean.dtype)


def _merged(layer: Layer, normalization: Layer) -> list[np.ndarray]:
    """Kernels and bias of a layer that also does what the batch normalization after it does."""
    factor, offset = _affine(normalization)
    *kernels, bias = layer.get_weights() if layer.use_bias else [*layer.get_weights(), np.zeros_like(factor)]
    kernels[-1] = kernels[-1] * (factor[:, None] if isinstance(layer, KL.Conv2DTranspose) else factor)
    return [*kernels, bias * factor + offset]


def _normalized(layer: Layer) -> list[Part]:
    factor, offset = _affine(layer)
    convolution = Part(KL.DepthwiseConv2D(1, name=layer.name), [factor.reshape(1, 1, -1, 1), offset])
    shape = tuple(layer.input.shape[1:])
    return [convolution] if len(shape) == 3 else _in_one_row(layer.name, [convolution], shape[-1], shape)


def _over_one_row(layer: Layer, weights: Sequence[np.ndarray], changes: dict[str, Any]) -> list[Part]:
    """A convolution over steps as one over an image of one row."""
    (size,), (stride,), (dilation,) = layer.kernel_size, layer.strides, layer.dilation_rate
    window: dict[str, Any] = {
        "kernel_size": (1, size),
        "strides": (stride, stride),
        "dilation_rate": (1, dilation),
        "padding": "same" if layer.padding == "same" else "valid",
    }
    ends = {
        "activation": changes.get("activation", layer.activation),
        "use_bias": changes.get("use_bias", layer.use_bias),
        "bias_regularizer": layer.bias_regularizer,
        "name": layer.name,
    }
    if isinstance(layer, KL.SeparableConv1D):
        depthwise, pointwise, *bias = weights
        inner = [
            Part(
                KL.DepthwiseConv2D(
                    **window,
                    depth_multiplier=layer.depth_multiplier,
                    depthwise_regularizer=layer.depthwise_regularizer,
                    use_bias=False,
                    name=f"{layer.name}_depthwise",
                ),
                [depthwise[None]],
            ),
            Part(
                KL.Conv2D(layer.filters, 1, kernel_regularizer=layer.pointwise_regularizer, **ends),
                [pointwise[None], *bias],
            ),
        ]
    else:
        kernel, *bias = weights
        convolution = KL.Conv2D(
            layer.filters, **window, groups=layer.groups, kernel_regularizer=layer.kernel_regularizer, **ends
        )
        inner = [Part(convolution, [kernel[None], *bias])]
    row = _in_one_row(layer.name, inner, layer.input.shape[-1], tuple(layer.output.shape[1:]))
    if layer.padding != "causal":
        return row
    return [Part(KL.ZeroPadding1D((dilation * (size - 1), 0), name=f"{layer.name}_past")), *row]


def _in_one_row(name: str, inner: list[Part], channels: int, shape: tuple[int | None, ...]) -> list[Part]:
    """Layers for images around a sequence, as an image of one row.

    Args:
      name: prefix of the names of the layers around.
      inner: layers for images.
      channels: of the sequence that comes in.
      shape: of what goes out, without the batch.
    """
    after = tuple(-1 if size is None else size for size in shape)
    return [
        Part(KL.Reshape((1, -1, channels), name=f"{name}_row")),
        *inner,
        Part(KL.Reshape(after, name=f"{name}_steps")),
    ]
