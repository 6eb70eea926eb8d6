"""Which channels of a model can be removed, each with all that depends on it.

A *group* is a channel with all those that are tied to it, as by the addition of a residual; it goes as a whole. A
*block* is what the groups that run through the same layers are together: those of one layer, or of all layers of a
residual stream.

Method: G. Fang et al., "DepGraph: Towards Any Structural Pruning" (2023), groups by dependency; here they are found
from which channel is at which position of every tensor, so that concatenated, flattened and reshaped ones are followed
too.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras

from tfx_edge.errors import ModelError
from tfx_edge.pruning.structured.channels import Track
from tfx_edge.pruning.structured.rules import apply
from tfx_edge.pruning.structured.settings import Structured
from tfx_edge.pruning.structured.tracks import Slice, Term, Tracks


@dataclass(frozen=True)
class Block:
    """Groups that are alike, of which some may be removed.

    Attributes:
      layers: names of the layers that make their channels.
      groups: their numbers.
      lengths: how many of them may stay, the largest number first.
    """

    layers: tuple[str, ...]
    groups: np.ndarray
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class Structure:
    """What can be removed of a model, and what follows it.

    Attributes:
      group_of: for each channel the number of its group.
      groups: how many groups there are.
      blocks: of the groups that may be removed.
      slices: dimensions of weights that follow channels.
      sizes: for each layer the entries of its configuration that are the length of a track.
      makers: for each layer that makes channels, those.
      macs: multiply-accumulates of one example.
      unsized: layers whose sizes are not known, so that ``macs`` is not.
      left: layers that stay whole although the settings name them, each with the reason.
    """

    group_of: np.ndarray
    groups: int
    blocks: tuple[Block, ...]
    slices: tuple[Slice, ...]
    sizes: dict[str, dict[str, Track]]
    makers: dict[str, Track]
    macs: tuple[Term, ...]
    unsized: tuple[str, ...]
    left: dict[str, str]

    @classmethod
    def of(cls, model: tf_keras.Model, settings: Structured) -> Structure:
        """Finds out by walking through the graph.

        Args:
          model: Functional or Sequential, without models inside it.
          settings: which layers may lose channels, and in what steps.

        Raises:
          ModelError: ``layers`` names no layer that makes channels, or no channel can be removed.
        """
        notes = _walk(model)
        makers = {
            name: track for name, sizes in notes.sizes.items() for entry, track in sizes.items() if entry in _COUNTS
        }
        _check_pattern(makers, settings)
        _, group_of = np.unique(notes.channels.roots(), return_inverse=True)
        groups = int(group_of.max()) + 1
        why = _pinned(notes, makers, group_of, settings)
        blocks, left = _blocks(notes, makers, group_of, why, settings)
        if not blocks:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in left.items())
            raise ModelError(f"no channel can be removed: {reasons}")
        return cls(
            group_of=group_of,
            groups=groups,
            blocks=blocks,
            slices=tuple(notes.slices.values()),
            sizes=notes.sizes,
            makers=makers,
            macs=tuple(notes.macs),
            unsized=tuple(notes.unsized),
            left=left,
        )


_COUNTS = ("units", "filters", "output_dim")


def _walk(model: tf_keras.Model) -> Tracks:
    notes = Tracks()
    tracks: dict[int, Track] = {}
    for tensor, name in zip(model.inputs, model.input_names, strict=True):
        tracks[id(tensor)] = notes.fixed(name, tensor, f"the model's input {name!r}")
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            taken = [tracks[id(tensor)] for tensor in node.keras_inputs]
            found = apply(notes, node.layer, node, taken)
            tracks.update(zip(map(id, tf.nest.flatten(node.outputs)), found, strict=True))
    for tensor, name in zip(model.outputs, model.output_names, strict=True):
        notes.channels.pin(tracks[id(tensor)], f"the model's output {name!r}")
    return notes


def _check_pattern(makers: dict[str, Track], settings: Structured) -> None:
    if not any(re.fullmatch(settings.layers, name) for name in makers):
        raise ModelError(
            f"layers {settings.layers!r} matches none of the layers that make channels, which are "
            f"{', '.join(makers) or 'none'}: name some of them"
        )


def _pinned(notes: Tracks, makers: dict[str, Track], group_of: np.ndarray, settings: Structured) -> dict[int, str]:
    """Why groups stay, by their number."""
    for name, track in makers.items():
        if not re.fullmatch(settings.layers, name):
            notes.channels.pin(track, f"layer {name!r}, which layers {settings.layers!r} does not name")
    return {int(group_of[root]): why for root, why in notes.channels.pinned().items()}


def _blocks(
    notes: Tracks, makers: dict[str, Track], group_of: np.ndarray, pinned: dict[int, str], settings: Structured
) -> tuple[tuple[Block, ...], dict[str, str]]:
    members: dict[int, Counter[str]] = {}
    for name, track in makers.items():
        for group in group_of[track].tolist():
            members.setdefault(group, Counter())[name] += 1
    alike: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for group, counts in members.items():
        if group not in pinned:
            alike.setdefault(tuple(sorted(counts.items())), []).append(group)
    left = {name: why for name, why in notes.left.items() if re.fullmatch(settings.layers, name)}
    blocks = []
    for key, groups in alike.items():
        names = tuple(name for name, _ in key)
        lengths = _lengths(len(groups), settings)
        if len(lengths) > 1:
            blocks.append(Block(names, np.array(groups), lengths))
        else:
            left.update(dict.fromkeys(names, f"of its {len(groups)} channels no fewer can stay, {_steps(settings)}"))
    for name in makers:
        if any(name in block.layers for block in blocks):
            left.pop(name, None)
        elif name not in left and re.fullmatch(settings.layers, name):
            reason = next(pinned[group] for group in group_of[makers[name]].tolist() if group in pinned)
            left[name] = f"its channels are tied to {reason}"
    return tuple(blocks), left


def _lengths(number: int, settings: Structured) -> tuple[int, ...]:
    """All groups, or a multiple of what is asked, but not too few."""
    step = settings.multiple_of
    largest = (number - 1) // step * step
    return (number, *(length for length in range(largest, 0, -step) if length >= settings.min_units))


def _steps(settings: Structured) -> str:
    return f"which is a multiple of {settings.multiple_of} and at least {settings.min_units}"
