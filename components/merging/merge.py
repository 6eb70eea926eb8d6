"""Several networks become one that computes the same with fewer layers, or one network a simpler one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras

from tfx_edge.errors import ModelError
from tfx_edge.merging.building import build
from tfx_edge.merging.collapse import Collapse
from tfx_edge.merging.compose import MergeFn, compose
from tfx_edge.merging.fuse import Fuse
from tfx_edge.merging.graph import Graph
from tfx_edge.merging.inference import attach_activations, drop_inert, peel_activations
from tfx_edge.merging.reading import read
from tfx_edge.merging.share import share_computations, share_weights
from tfx_edge.models import saving


@dataclass(frozen=True)
class Merged:
    """What came out of a merge.

    Attributes:
      composed: the models and their merge function, layer by layer as they were.
      model: the model that computes the same.
      done: how many layers went, by what they went into or why.
    """

    composed: tf_keras.Model
    model: tf_keras.Model
    done: dict[str, int]


def merge(
    models: Sequence[tf_keras.Model],
    function: str = "average",
    weights: Sequence[float] | None = None,
    merge_fn: MergeFn | None = None,
    *,
    share: bool = True,
    linear: bool = True,
    fuse: bool = True,
    grouped: bool = True,
) -> Merged:
    """Makes one model of several, and simplifies it.

    Args:
      models: see `compose`, as for the next three.
      function: how outputs are merged.
      weights: of the models in an average.
      merge_fn: the user's own function.
      share: compute equal parts once, and store equal weights once.
      linear: let linear layers that follow each other or are added become one.
      fuse: let layers side by side become a wider one.
      grouped: let convolutions side by side on different tensors become a grouped convolution.

    Raises:
      ModelError, ConfigError, UserCodeError: see `compose`; or a layer does not describe itself.
    """
    composed = compose(models, function, weights, merge_fn)
    graph = read(composed)
    done: Counter[str] = Counter()
    if share or linear or fuse:
        done["without effect at inference"] = drop_inert(graph)
    if share:
        done["equal, computed once"] = share_computations(graph)
    if linear or fuse:
        peel_activations(graph)
        if linear:
            done.update(_collapsed(graph, joining=False))
        while fuse:
            fusing = Fuse(graph, grouped=grouped)
            changed = fusing.run()
            done.update(fusing.done)
            joined = _collapsed(graph, joining=True) if linear else {}
            done.update(joined)
            if not changed and not joined:
                break
        attach_activations(graph)
    if share:
        done["weights stored once (numbers)"] = share_weights(graph)
    return Merged(composed, build(graph), {kind: number for kind, number in done.items() if number})


def difference(composed: tf_keras.Model, model: tf_keras.Model, batches: Iterable[Mapping[str, np.ndarray]]) -> float:
    """The largest difference of two models' outputs, as a share of the largest output of the first, or of 1 if less.

    Args:
      composed: the one that is right.
      model: the other one.
      batches: features by name; the models' inputs among them.

    Raises:
      ModelError: the outputs differ in shape, or are no finite numbers.
    """
    outputs = len(composed.outputs)
    worst, largest = [0.0] * outputs, [1.0] * outputs
    for batch in batches:
        wanted, found = (_outputs(each, batch) for each in (composed, model))
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            if one.shape != other.shape:
                raise ModelError(f"the merged model gives {other.shape} where the models gave {one.shape}")
            worst[number] = max(worst[number], float(np.max(np.abs(one - other), initial=0.0)))
            largest[number] = max(largest[number], float(np.max(np.abs(one), initial=0.0)))
            if not np.all(np.isfinite(one)) or not np.all(np.isfinite(other)):
                raise ModelError("the models give outputs that are not finite, so the merged one cannot be checked")
    return max(difference / scale for difference, scale in zip(worst, largest, strict=True))


def _collapsed(graph: Graph, *, joining: bool) -> dict[str, int]:
    collapsing = Collapse(graph, joining=joining)
    collapsing.run()
    return collapsing.done


def _outputs(model: tf_keras.Model, batch: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    outputs = model(saving.pack_features(model, batch), training=False)
    return [np.asarray(output, np.float64) for output in tf.nest.flatten(outputs)]
