"""What each kind of layer does with channels: makes them, takes them up, passes them on, ties or repeats them.

A rule is called for every call of a layer, in the order of the graph, with the tracks that go in; it notes what follows
them and returns the track that comes out, or says why it cannot tell. Only the very classes of tf_keras have a rule:
a subclass may do anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras.src.layers.core.tf_op_layer import TFOpLambda

from tfx_edge.pruning.structured.channels import Track
from tfx_edge.pruning.structured.elementwise import is_elementwise, lambda_rule
from tfx_edge.pruning.structured.tracks import Layer, Node, Tracks, describe

KL = tf_keras.layers
Rule: TypeAlias = Callable[[Tracks, Layer, Node, Sequence[Track]], "Track | str"]
"""Returns the track of the output, or the rest of a sentence that starts with the layer."""

_UNKNOWN = "whose effect on channels is not known"


def apply(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> list[Track]:
    """The tracks of a call's outputs."""
    rule = _RULES.get(type(layer))
    why = _refusal(rule, layer, node, tracks)
    if rule and not why:
        found = rule(notes, layer, node, tracks)
        if not isinstance(found, str):
            return [found]
        why = found
    return notes.opaque(layer, node, tracks, why)


def _refusal(rule: Rule | None, layer: Layer, node: Node, tracks: Sequence[Track]) -> str:
    several = rule in (_merge, _concatenate, lambda_rule)
    if not rule or (len(tracks) != 1 and not several) or len(tf.nest.flatten(node.outputs)) != 1:
        return _UNKNOWN
    if getattr(layer, "data_format", None) == "channels_first":
        return "whose channels come first"
    known = rule is _embedding or all(len(track) for track in tracks)
    return "" if known else "whose inputs have a last dimension that is not known"


def _pass(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    return tracks[0]


def _merge(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    lengths = {len(track) for track in tracks}
    return notes.same(layer, tracks) if len(lengths - {1}) < 2 else _UNKNOWN


def _concatenate(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    rank = node.outputs.shape.rank
    return np.concatenate(tracks) if layer.axis % rank == rank - 1 else notes.same(layer, tracks)


def _dense(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    return _producer(notes, layer, node, tracks[0], "units", (0, 1), node.outputs.shape[1:-1])


def _convolution(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    if layer.groups != 1:
        return f"which convolves in {layer.groups} groups"
    return _producer(notes, layer, node, tracks[0], "filters", (-2, -1), node.outputs.shape[1:-1])


def _transposed(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    return _producer(notes, layer, node, tracks[0], "filters", (-1, -2), node.keras_inputs[0].shape[1:-1])


def _producer(
    notes: Tracks,
    layer: Layer,
    node: Node,
    taken: Track,
    entry: str,
    axes: tuple[int, int],
    positions: Sequence[int | None],
) -> Track | str:
    """A layer whose kernel joins all inputs to all outputs; ``axes`` of it are those of inputs and outputs."""
    made = notes.made(layer, entry)
    notes.follow(layer, layer.kernel, axes[0], taken, "input")
    notes.follow(layer, layer.kernel, axes[1], made, "filter")
    notes.follow(layer, layer.bias, 0, made)
    elements = math.prod(layer.kernel.shape) // (len(taken) * len(made))
    notes.compute(layer, elements, positions, taken, made)
    return _activated(notes, layer, made)


def _depthwise(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    passed = np.repeat(tracks[0], layer.depth_multiplier)
    notes.follow(layer, layer.depthwise_kernel, -2, tracks[0], "filter")
    notes.follow(layer, layer.bias, 0, passed)
    elements = math.prod(layer.depthwise_kernel.shape[:-2])
    notes.compute(layer, elements, node.outputs.shape[1:-1], passed)
    return _activated(notes, layer, passed)


def _separable(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    passed = np.repeat(tracks[0], layer.depth_multiplier)
    made = notes.made(layer, "filters")
    notes.follow(layer, layer.depthwise_kernel, -2, tracks[0], "input")
    notes.follow(layer, layer.pointwise_kernel, -2, passed)
    notes.follow(layer, layer.pointwise_kernel, -1, made, "filter")
    notes.follow(layer, layer.bias, 0, made)
    positions = node.outputs.shape[1:-1]
    notes.compute(layer, math.prod(layer.depthwise_kernel.shape[:-2]), positions, passed)
    notes.compute(layer, 1, positions, passed, made)
    return _activated(notes, layer, made)


def _activated(notes: Tracks, layer: Layer, track: Track) -> Track:
    if not is_elementwise(layer.activation):
        notes.channels.pin(track, f"{describe(layer)}, whose activation may mix channels")
    return track


def _activation(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    return _activated(notes, layer, tracks[0])


def _batch_normalization(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    if list(layer.axis) != [node.outputs.shape.rank - 1]:
        return "which does not normalize the last dimension"
    if getattr(layer, "renorm", False):
        return "which renormalizes"
    notes.follow(layer, layer.gamma, 0, tracks[0], "scale")
    for weight in (layer.beta, layer.moving_mean, layer.moving_variance):
        notes.follow(layer, weight, 0, tracks[0])
    return tracks[0]


def _prelu(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    if layer.alpha.shape[-1] == len(tracks[0]):
        notes.follow(layer, layer.alpha, -1, tracks[0])
    return tracks[0]


def _softmax(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    rank = node.outputs.shape.rank
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    return "which computes across channels" if rank - 1 in {axis % rank for axis in axes} else tracks[0]


def _rescaling(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    return tracks[0] if np.ndim(layer.scale) == np.ndim(layer.offset) == 0 else "with other numbers for each channel"


def _permute(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    return tracks[0] if layer.dims[-1] == len(layer.dims) else "which moves channels to another dimension"


def _flatten(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    length = node.outputs.shape[-1]
    return "whose size is not known" if length is None else np.tile(tracks[0], length // len(tracks[0]))


def _reshape(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    """Channels of which one lies beside the other in the new last dimension are removed together."""
    before, after = node.keras_inputs[0].shape[1:], node.outputs.shape[1:]
    if after.rank and before[-1] == after[-1]:
        track = tracks[0]
    elif None in (*before, *after) or not after.rank:
        return "whose sizes are not known"
    else:
        flat = np.tile(tracks[0], math.prod(before) // len(tracks[0]))
        track = notes.channels.tie(list(flat.reshape(-1, after[-1])))
    notes.sizes.setdefault(layer.name, {})["target_shape"] = track
    return track


def _embedding(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    made = notes.made(layer, "output_dim")
    notes.follow(layer, layer.embeddings, 1, made, "filter")
    return made


def _recurrent(notes: Tracks, layer: Layer, node: Node, tracks: Sequence[Track]) -> Track | str:
    """Inputs can go, units stay."""
    parts = [layer.forward_layer, layer.backward_layer] if isinstance(layer, KL.Bidirectional) else [layer]
    if any(type(part) not in _RECURRENT for part in parts):
        return _UNKNOWN
    for part in parts:
        kernel, recurrent = part.cell.kernel, part.cell.recurrent_kernel
        notes.follow(layer, kernel, 0, tracks[0], "input")
        steps = node.keras_inputs[0].shape[1:2]
        notes.compute(layer, kernel.shape[1], steps, tracks[0])
        notes.compute(layer, math.prod(recurrent.shape), steps)
    why = "whose units are not removed"
    notes.left.setdefault(layer.name, f"{type(layer).__name__}, {why}")
    return notes.fixed(layer.name, node.outputs, f"{layer.name!r} ({type(layer).__name__}), {why}")


_RECURRENT = (KL.LSTM, KL.GRU, KL.SimpleRNN)
_ELEMENTWISE = (
    *(KL.ReLU, KL.LeakyReLU, KL.ELU, KL.ThresholdedReLU),
    *(KL.Dropout, KL.SpatialDropout1D, KL.SpatialDropout2D, KL.SpatialDropout3D),
    *(KL.GaussianNoise, KL.GaussianDropout, KL.AlphaDropout, KL.ActivityRegularization),
)
_OVER_POSITIONS = (
    *(KL.MaxPooling1D, KL.MaxPooling2D, KL.MaxPooling3D),
    *(KL.AveragePooling1D, KL.AveragePooling2D, KL.AveragePooling3D),
    *(KL.GlobalMaxPooling1D, KL.GlobalMaxPooling2D, KL.GlobalMaxPooling3D),
    *(KL.GlobalAveragePooling1D, KL.GlobalAveragePooling2D, KL.GlobalAveragePooling3D),
    *(KL.ZeroPadding1D, KL.ZeroPadding2D, KL.ZeroPadding3D),
    *(KL.Cropping1D, KL.Cropping2D, KL.Cropping3D),
    *(KL.UpSampling1D, KL.UpSampling2D, KL.UpSampling3D, KL.RepeatVector),
)
_RULES: dict[type, Rule] = {
    **dict.fromkeys((*_ELEMENTWISE, *_OVER_POSITIONS), _pass),
    **dict.fromkeys((KL.Add, KL.Subtract, KL.Multiply, KL.Average, KL.Maximum, KL.Minimum), _merge),
    **dict.fromkeys((KL.Conv1D, KL.Conv2D, KL.Conv3D), _convolution),
    **dict.fromkeys((KL.Conv1DTranspose, KL.Conv2DTranspose, KL.Conv3DTranspose), _transposed),
    **dict.fromkeys((KL.DepthwiseConv1D, KL.DepthwiseConv2D), _depthwise),
    **dict.fromkeys((KL.SeparableConv1D, KL.SeparableConv2D), _separable),
    **dict.fromkeys((*_RECURRENT, KL.Bidirectional), _recurrent),
    KL.Dense: _dense,
    KL.Concatenate: _concatenate,
    KL.Activation: _activation,
    KL.BatchNormalization: _batch_normalization,
    KL.PReLU: _prelu,
    KL.Softmax: _softmax,
    KL.Rescaling: _rescaling,
    KL.Permute: _permute,
    KL.Flatten: _flatten,
    KL.Reshape: _reshape,
    KL.Embedding: _embedding,
    TFOpLambda: lambda_rule,
}
