"""Pruner's method ``structured``: rounds of removing and training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tf_keras

from tfx_edge.errors import ModelError
from tfx_edge.pruner.outcome import Job, Outcome
from tfx_edge.pruning.structured.prune import Pruned, prune
from tfx_edge.pruning.structured.settings import Structured
from tfx_edge.stages import savings
from tfx_edge.training.checkpoints import Checkpoint

_BATCHES = 16
"""Batches of the training split that importance by gradients looks at."""


def run(job: Job, settings: Structured) -> Outcome:
    """Removes filters, channels and units, and trains after each round.

    Raises:
      ModelError: nothing can be removed, or, for a share of the latency, the model cannot be converted.
    """
    made, figures, reports, removed = _rounds(job, settings)
    for layer, why in made.left.items():
        job.progress(f"layer {layer!r} stays whole: {why}")
    changed = {name: list(sizes) for name, sizes in removed.items()}
    return Outcome(made.model, {**figures, "removed": changed, "left": made.left, "rounds": reports})


def _rounds(
    job: Job, settings: Structured
) -> tuple[Pruned, dict[str, float], list[dict[str, Any]], dict[str, tuple[int, int]]]:
    model, kept = job.model, 1.0
    figures: dict[str, float] = {}
    reports: list[dict[str, Any]] = []
    removed: dict[str, tuple[int, int]] = {}
    for number, place in enumerate(_places(job.checkpoint, settings.rounds)):
        made = prune(
            model,
            settings,
            settings.share_of(number, kept),
            batches=_examples(job) if settings.importance == "taylor" else None,
            loss=_loss(job) if settings.importance == "taylor" else None,
            cost=_milliseconds(job) if settings.of == "latency" else None,
        )
        for layer, (before, after) in made.removed.items():
            removed[layer] = (removed.get(layer, (before, after))[0], after)
        job.progress(f"round {number + 1}/{settings.rounds}: {_told(made)}")
        reports.append(made.report)
        model = made.model
        kept *= made.kept
        figures = job.fit(model, place)
    return made, figures, reports, removed


def _told(made: Pruned) -> str:
    return ", ".join(f"{layer} {before} to {after}" for layer, (before, after) in made.removed.items()) or "nothing"


def _examples(job: Job) -> list[tuple[Any, Any]]:
    return list(job.data.batches.take(_BATCHES))


def _loss(job: Job) -> Callable[[Any, Any], Any]:
    """The loss that the module's ``compile_fn`` gives, or that for class labels."""
    return job.compiled(job.model).compiled_loss


def _milliseconds(job: Job) -> Callable[[tf_keras.Model], float]:
    """The time of one run on this machine, as a share of that of the model that Pruner was given."""
    before = job.before
    if before is None:
        raise ModelError("of 'latency' needs a model that converts to a .tflite as it is: give 'macs' or 'parameters'")

    def ratio(model: tf_keras.Model) -> float:
        return savings.latency(before.path, savings.cost(model, job.folder, "candidate").path).value

    return ratio


def _places(checkpoint: Checkpoint | None, rounds: int) -> list[Checkpoint | None]:
    """A checkpoint for each round: the trainings that are done are needed too when a later one goes on."""
    if checkpoint is None:
        return [None] * rounds
    return [*(checkpoint.part(number) for number in range(rounds - 1)), checkpoint]
