"""What a walk through a model's graph finds out: which weights, sizes and costs follow which channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import tensorflow as tf

from tfx_edge.pruning.structured.channels import Channels, Track

Layer: TypeAlias = Any  # tf_keras.layers.Layer, of which a type checker knows nothing
Node: TypeAlias = Any  # one call of a layer

Role = Literal["filter", "scale", "input", "other"]


@dataclass(frozen=True)
class Slice:
    """A dimension of a weight that follows channels.

    Attributes:
      layer: name of the layer.
      weight: index in the layer's ``weights``.
      axis: the dimension, counted from 0.
      track: the channels along it.
      role: ``"filter"`` where each slice makes a channel, ``"input"`` where it takes one up, ``"scale"`` for the
        factors of a batch normalization, ``"other"`` for the rest.
    """

    layer: str
    weight: int
    axis: int
    track: Track
    role: Role


@dataclass(frozen=True)
class Term:
    """A part of a cost: ``factor`` times the lengths of the tracks."""

    factor: int
    tracks: tuple[Track, ...] = ()


class Tracks:
    """Takes notes during the walk.

    Attributes:
      channels: of all layers.
      slices: by layer, weight and axis.
      sizes: for each layer the entries of its configuration that are the length of a track.
      macs: multiply-accumulates of one example; sizes that are not known count 1, and ``unsized`` names their layers.
      left: layers with weights that stay as they are, with the reason.
    """

    def __init__(self) -> None:
        self.channels = Channels()
        self.slices: dict[tuple[str, int, int], Slice] = {}
        self.sizes: dict[str, dict[str, Track]] = {}
        self.macs: list[Term] = []
        self.unsized: list[str] = []
        self.left: dict[str, str] = {}

    def made(self, layer: Layer, entry: str) -> Track:
        """The channels that a layer makes, new ones at its first call.

        Args:
          layer: makes them.
          entry: of its configuration, which says how many.
        """
        sizes = self.sizes.setdefault(layer.name, {})
        if entry not in sizes:
            sizes[entry] = self.channels.make(layer.name, int(getattr(layer, entry)))
        return sizes[entry]

    def follow(self, layer: Layer, weight: Any, axis: int, track: Track, role: Role = "other") -> None:
        """Notes that a dimension of a weight follows a track; no weight, no note.

        Where the layer was called before, the channels of both calls are tied.
        """
        if weight is None:
            return
        index = next(number for number, known in enumerate(layer.weights) if known is weight)
        key = layer.name, index, axis % len(weight.shape)
        if key in self.slices:
            self.channels.tie([self.slices[key].track, track])
        else:
            self.slices[key] = Slice(*key, track, role)

    def compute(self, layer: Layer, per_position: int, positions: Sequence[int | None], *tracks: Track) -> None:
        """Notes the multiply-accumulates of one call.

        Args:
          layer: that computes.
          per_position: products for each position and each combination of channels.
          positions: sizes of the dimensions along which it computes; None where one is not known.
          tracks: the channels.
        """
        if None in positions and layer.name not in self.unsized:
            self.unsized.append(layer.name)
        self.macs.append(Term(per_position * math.prod(size or 1 for size in positions), tracks))

    def same(self, layer: Layer, tracks: Sequence[Track]) -> Track:
        """The channels of what is computed element by element from tensors with these."""
        longest = max(tracks, key=len)
        for track in tracks:
            if len(track) != len(longest):
                self.channels.pin(track, f"{describe(layer)}, which spreads a channel over several")
        return self.channels.tie([track for track in tracks if len(track) == len(longest)])

    def opaque(self, layer: Layer, node: Node, tracks: Sequence[Track], why: str) -> list[Track]:
        """Pins what goes into a call, and what comes out of it.

        Args:
          layer: is called.
          node: the call.
          tracks: of what goes in.
          why: the rest of a sentence that starts with the layer.

        Returns:
          The channels of each output.
        """
        reason = f"{describe(layer)}, {why}"
        for track in tracks:
            self.channels.pin(track, reason)
        if any(len(weight.shape) > 1 for weight in layer.weights):
            self.left.setdefault(layer.name, f"{type(layer).__name__}, {why}")
        return [self.fixed(layer.name, tensor, reason) for tensor in tf.nest.flatten(node.outputs)]

    def fixed(self, layer: str, tensor: Any, why: str) -> Track:
        """New channels that stay, as many as the last dimension of a tensor is long."""
        length = tensor.shape[-1] if tensor.shape.rank and tensor.shape.rank > 1 else None
        track = self.channels.make(layer, int(length or 0))
        self.channels.pin(track, why)
        return track


def describe(layer: Layer) -> str:
    """A layer in a sentence."""
    return f"{layer.name!r} ({type(layer).__name__})"
