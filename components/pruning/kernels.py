"""The weights of a model that can be pruned or shared: what its layers multiply their inputs with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tf_keras

from tfx_edge.errors import ModelError

_NAMES = frozenset({"kernel", "recurrent_kernel", "pointwise_kernel", "embeddings"})
_CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D", "SeparableConv1D", "SeparableConv2D")
_TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")


@dataclass(frozen=True)
class Kernel:
    """One weight tensor.

    Attributes:
      layer: name of its layer; inside a nested model ``model/layer``.
      name: its own name, such as ``kernel`` or ``recurrent_kernel``.
      variable: of TensorFlow, two dimensions or more.
      input_axis: the dimension that runs along the layer's inputs; None where that is not a single one.
    """

    layer: str
    name: str
    variable: Any
    input_axis: int | None

    @property
    def values(self) -> np.ndarray:
        """A copy of what it holds."""
        return np.array(self.variable)

    def __str__(self) -> str:
        return f"{self.name} {tuple(self.variable.shape)} of layer {self.layer!r}"


class _Overrides(Protocol):
    @property
    def layers(self) -> str: ...
    @property
    def overrides(self) -> Sequence[Any]: ...


def kernels(model: tf_keras.Model) -> tuple[Kernel, ...]:
    """All kernels, each once, in the order of the layers; nested models are looked into.

    Those of depthwise convolutions are no kernels here: there are few of them, and each feeds a whole channel.
    """
    found: dict[int, Kernel] = {}
    for name, layer in _leaves(model):
        for variable in layer.weights:
            own = variable.name.partition(":")[0].rpartition("/")[2]
            if own in _NAMES and len(variable.shape) > 1 and variable.dtype.is_floating:
                found.setdefault(id(variable), Kernel(name, own, variable, _input_axis(layer, variable)))
    return tuple(found.values())


def check_patterns(known: Iterable[Kernel], settings: _Overrides) -> None:
    """Checks that the patterns name layers.

    Raises:
      ModelError: an override, or ``layers`` itself, matches no layer that has a kernel.
    """
    names = list(dict.fromkeys(kernel.layer for kernel in known))
    for override in settings.overrides:
        if not any(re.fullmatch(override.layers, name) and re.fullmatch(settings.layers, name) for name in names):
            raise ModelError(
                f"the override for layers {override.layers!r} is for none of the layers with kernels, which are "
                f"{', '.join(names) or 'none'}: name some of them, also in layers, or leave it out"
            )
    if not any(re.fullmatch(settings.layers, name) for name in names):
        raise ModelError(
            f"layers {settings.layers!r} matches none of the layers with kernels, which are "
            f"{', '.join(names) or 'none'}: name some of them"
        )


def _leaves(model: tf_keras.Model, prefix: str = "") -> Iterator[tuple[str, tf_keras.layers.Layer]]:
    for layer in model.layers:
        if isinstance(layer, tf_keras.Model) and layer.layers:
            yield from _leaves(layer, f"{prefix}{layer.name}/")
        else:
            yield prefix + layer.name, layer


def _input_axis(layer: tf_keras.layers.Layer, variable: Any) -> int | None:
    kind = type(layer).__name__
    if isinstance(layer, tf_keras.layers.Embedding):
        return None
    if kind in _TRANSPOSED:
        return len(variable.shape) - 1
    return len(variable.shape) - 2 if kind in _CONVOLUTIONS or len(variable.shape) == 2 else None
