"""Pruner's method ``clusters``."""

from __future__ import annotations

from tfx_edge.pruner.outcome import Job, Outcome
from tfx_edge.pruning import clustering, magnitude
from tfx_edge.pruning.settings import Clusters


def run(job: Job, settings: Clusters) -> Outcome:
    """Lets the weights of each kernel share few values, and trains these values.

    Raises:
      ModelError: nothing can be clustered.
    """
    plan = clustering.Plan.of(job.model, settings)
    for layer, why in plan.left.items():
        job.progress(f"layer {layer!r} stays as it is: {why}")
    figures = job.fit(job.model, job.checkpoint, [clustering.Clustering(plan)])
    values = clustering.check(job.model, plan)
    job.progress("distinct values " + ", ".join(f"{layer} {number}" for layer, number in values.items()))
    zeros = {
        "sparsity": magnitude.sparsity(job.model),
        "pruned": sorted({target.kernel.layer for target in plan.clustered if target.zeros is not None}),
    }
    return Outcome(
        job.model,
        {**figures, "clusters": values, **zeros, "left": plan.left},
        {"clusters": float(max(values[target.kernel.layer] for target in plan.clustered))},
    )
