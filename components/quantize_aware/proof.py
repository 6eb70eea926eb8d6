"""Whether a prepared model does to its weights what is said of it, before training and after."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import tf_keras

from tfx_edge.errors import ModelError
from tfx_edge.models.graph_copy import Layer
from tfx_edge.quantize_aware.preserve import CLUSTERS, SPARSITY, kept_in
from tfx_edge.quantize_aware.scheme import CLUSTERED, rounded_weights

_NOTHING = 1e-6  # of the greatest weight; rounding gives zeros that are off by an ulp


@dataclass(frozen=True)
class Promise:
    """What training must leave in the weights of a layer.

    Attributes:
      layer: its name.
      zeros: which weights are zero; None where that is not promised.
      values: how many values the weights share, zero among them, for each scale; None where that is not promised.
    """

    layer: str
    zeros: np.ndarray | None
    values: int | None

    def broken(self, weight: np.ndarray, by_channel: bool) -> str:
        """How the weights fall short; empty if they do not.

        Args:
          weight: as it is rounded.
          by_channel: whether every entry of the last axis has a scale of its own.
        """
        nothing = np.abs(weight) <= _NOTHING * np.abs(weight).max()
        if self.zeros is not None and not nothing[self.zeros].all():
            return f"{nothing.mean():.1%} of the weights of {self.layer!r} are zero, {self.zeros.mean():.1%} were"
        if self.values is None:
            return ""
        values = max(np.unique(part).size for part in (np.moveaxis(weight, -1, 0) if by_channel else [weight]))
        return f"the weights of {self.layer!r} share {values} values, not {self.values}" if values > self.values else ""


def require_rounded(model: tf_keras.Model, floats: Collection[str]) -> None:
    """Raises an error if a layer that is to compute in integers would train without the rounding of its weights.

    Args:
      model: prepared for training.
      floats: names of the layers that stay in float.

    Raises:
      ModelError: with the names of such layers.
    """
    integer = [layer for layer in model.layers if layer.name not in floats]
    if names := [layer.name for layer in integer if _has_kernel(layer) and not rounded_weights(layer)]:
        raise ModelError(
            f"training would not see the rounding of the weights of {', '.join(names)}, which are to become int8. Keep "
            "them in float (an override of precision 'float32'), or quantize the converted model instead (a Quantizer "
            "with a post-training recipe after LiteConverter)"
        )


def promises(model: tf_keras.Model, preserve: Collection[str]) -> list[Promise]:
    """What training must leave in the weights.

    Args:
      model: prepared for training, not trained yet.
      preserve: what is to be kept where it is there.
    """
    found = []
    for layer in model.layers:
        for variable, _, _ in rounded_weights(layer):
            weight = variable.numpy()
            kept = kept_in(weight, preserve)
            zeros = weight == 0 if SPARSITY in kept else None
            values = np.unique(weight).size if CLUSTERS in kept and type(layer.layer) in CLUSTERED else None
            if zeros is not None or values is not None:
                found.append(Promise(layer.name, zeros, values))
    return found


def require_kept(model: tf_keras.Model, promised: Collection[Promise]) -> None:
    """Raises an error if training broke a promise.

    Args:
      model: trained.
      promised: by `promises`, before training.

    Raises:
      ModelError: with the layers and what became of their weights.
    """
    broken = filter(None, (_broken(model.get_layer(promise.layer), promise) for promise in promised))
    if told := "; ".join(broken):
        raise ModelError(
            f"training lost what 'preserve' keeps: {told}. Train at a lower learning_rate, or give 'preserve' without "
            "what is lost"
        )


def _broken(layer: Layer, promise: Promise) -> str:
    ((variable, quantizer, ranges),) = rounded_weights(layer)
    return promise.broken(quantizer(variable, False, weights=ranges).numpy(), quantizer.per_axis)


def _has_kernel(layer: Layer) -> bool:
    return any(weight.shape.rank > 1 for weight in layer.weights)
