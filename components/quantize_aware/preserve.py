"""What an earlier step left in the weights that quantization-aware training can keep."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal

import numpy as np

Preserved = Literal["sparsity", "clusters"]
SPARSITY: Final = "sparsity"
CLUSTERS: Final = "clusters"
_MOST_CLUSTERS = 256  # more values than int8 has are no clusters to it
_WEIGHTS_PER_CLUSTER = 4
_LEAST_SPARSITY = 0.05


def kept_in(weight: np.ndarray, preserve: Collection[str]) -> tuple[Preserved, ...]:
    """Which of the wanted properties a weight tensor has.

    Args:
      weight: of one layer.
      preserve: what is to be kept where it is there.

    Returns:
      ``sparsity`` when at least 5 % of the weights are exactly zero. ``clusters`` when the others share at most 256
      values, each taken by four weights or more on average.
    """
    others = weight[weight != 0]
    values = np.unique(others).size
    has: dict[Preserved, bool] = {
        SPARSITY: bool(weight.size) and 1 - others.size / weight.size >= _LEAST_SPARSITY,
        CLUSTERS: 1 < values <= min(_MOST_CLUSTERS, others.size // _WEIGHTS_PER_CLUSTER),
    }
    return tuple(name for name, kept in has.items() if name in preserve and kept)
