"""Pruner's method ``magnitude``."""

from __future__ import annotations

import math

from tfx_edge.pruner.outcome import Job, Outcome
from tfx_edge.pruning import magnitude
from tfx_edge.pruning.settings import Magnitude


def run(job: Job, settings: Magnitude) -> Outcome:
    """Zeroes the smallest weights while the model is trained.

    Raises:
      ModelError: nothing can be pruned, or not as asked.
    """
    plan = magnitude.Plan.of(job.model, settings)
    for layer, why in plan.left.items():
        job.progress(f"layer {layer!r} stays whole: {why}")
    pruning = magnitude.Pruning(plan, job.data.steps, job.config.epochs)
    ripe_after = max(0, math.ceil(pruning.end_step / job.data.steps) - 1)
    figures = job.fit(job.model, job.checkpoint, [pruning], ripe_after)
    shares = magnitude.check(job.model, plan)
    job.progress("sparsity " + ", ".join(f"{layer} {share:.2f}" for layer, share in shares.items()))
    return Outcome(
        job.model,
        {**figures, "sparsity": shares, "pruned": sorted(plan.wanted), "left": plan.left},
        {"sparsity": magnitude.overall(job.model)},
    )
