"""Removes whole filters, channels and units from a model, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tf_keras

from tfx_edge.errors import ConfigError, ModelError
from tfx_edge.models import graph_copy
from tfx_edge.pruning.structured import counts
from tfx_edge.pruning.structured.choice import Choice, Descent, by_count, by_measurement
from tfx_edge.pruning.structured.dependencies import Structure
from tfx_edge.pruning.structured.importance import Loss, importance
from tfx_edge.pruning.structured.settings import Structured
from tfx_edge.pruning.structured.surgery import without

_SHORT = 0.05


@dataclass(frozen=True)
class Pruned:
    """A smaller model, and what became of the one that it was made of.

    Attributes:
      model: of tf_keras, not compiled.
      removed: for each layer that lost channels how many it had and has.
      left: layers that lose none, whatever is asked, each with the reason.
      kept: the share of the cost that is left.
      report: costs before and after, and how the channels were chosen.
    """

    model: tf_keras.Model
    removed: dict[str, tuple[int, int]]
    left: dict[str, str]
    kept: float
    report: dict[str, Any]


def prune(
    model: tf_keras.Model,
    settings: Structured,
    share: float,
    *,
    batches: Iterable[tuple[Any, Any]] | None = None,
    loss: Loss | None = None,
    cost: Callable[[tf_keras.Model], float] | None = None,
) -> Pruned:
    """Removes the channels that matter least until a share of the cost is saved, to the nearest possible step.

    Inputs and outputs of the model keep their sizes. The layers of models inside it come out in their place.

    Args:
      model: a Functional or Sequential model, which is not changed.
      settings: what is removed; its ``amount`` and ``rounds`` are not looked at.
      share: of the cost that ``settings.of`` names, between 0 and 1.
      batches: features, as the model takes them, and labels, for importance ``"taylor"``; all of them are read.
      loss: takes labels and outputs of a batch, for ``"taylor"``.
      cost: measures a model, for ``"latency"``; the lower the better.

    Raises:
      ConfigError: importance or ``of`` needs an argument that is missing.
      DataError: there are no batches for ``"taylor"``.
      ModelError: no channel can be removed, or not enough to come near the share.
    """
    if settings.of == "latency" and cost is None:
        raise ConfigError("of 'latency' needs something that measures a model")
    if any(graph_copy.is_graph(layer) for layer in model.layers):
        model = graph_copy.unfold(model)
    structure = Structure.of(model, settings)
    found = importance(model, structure, settings.importance, batches, loss)
    parameters = counts.parameters(model, structure)
    macs = None if structure.unsized and settings.of != "macs" else counts.macs(structure)
    counted = macs if macs and settings.of != "parameters" else parameters
    descent = Descent(structure.blocks, found.scores, counted, settings.ranking)
    whole = float(descent.cost)
    if settings.of == "latency" and cost is not None:
        measured = cost
        choice, whole = by_measurement(descent, share, lambda gone: measured(without(model, structure, gone)))
    else:
        choice = by_count(descent, share)
    kept = choice.cost / whole
    _check_share(settings, share, kept)
    smaller = without(model, structure, choice.removed)
    _check(smaller, model, parameters.without(choice.removed))
    report = {
        "of": settings.of,
        "importance": settings.importance,
        "kept": kept,
        "parameters": _change(parameters, choice),
        **({"macs": _change(macs, choice)} if macs else {}),
        **({"importance_instead": found.instead} if found.instead else {}),
    }
    return Pruned(smaller, _removed(structure, choice), structure.left, kept, report)


def _check_share(settings: Structured, share: float, kept: float) -> None:
    if kept > 1 - share + _SHORT:
        raise ModelError(
            f"only {1 - kept:.0%} of {settings.of} can be removed, not {share:.0%}, while layers keep a multiple of "
            f"{settings.multiple_of} channels and at least {settings.min_units}: ask for less, or lower those"
        )


def _check(smaller: tf_keras.Model, model: tf_keras.Model, parameters: int) -> None:
    """Checks what came out, which a layer that describes itself wrongly would spoil."""
    if (smaller.input_shape, smaller.output_shape) != (model.input_shape, model.output_shape):
        raise ModelError(
            f"the smaller model takes {smaller.input_shape} and gives {smaller.output_shape}, where the model takes "
            f"{model.input_shape} and gives {model.output_shape}"
        )
    if sum(int(np.prod(weight.shape)) for weight in smaller.weights) != parameters:
        raise ModelError(f"the smaller model has {smaller.count_params():,} parameters, not {parameters:,} as counted")


def _removed(structure: Structure, choice: Choice) -> dict[str, tuple[int, int]]:
    gone = np.isin(np.arange(structure.groups), choice.removed)
    found = {}
    for name, track in structure.makers.items():
        after = int(np.sum(~gone[structure.group_of[track]]))
        if after < len(track):
            found[name] = len(track), after
    return found


def _change(cost: counts.Counts, choice: Choice) -> dict[str, int]:
    return {"before": cost.without(_NONE), "after": cost.without(choice.removed)}


_NONE = np.array([], np.int64)
