"""What Merger does, in a process of its own without TFX."""

from __future__ import annotations

import functools
import itertools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_edge.errors import DataError, ModelError
from tfx_edge.merger.spec import MergerConfig
from tfx_edge.models import layout
from tfx_edge.stages import several
from tfx_edge.stages.child import Request
from tfx_edge.stages.context import SAMPLE_EXAMPLES, StageContext, model_digest
from tfx_edge.stages.fn_args import FnArgs
from tfx_edge.training.types import Progress

if TYPE_CHECKING:
    import numpy as np
    import tf_keras

    from tfx_edge.merging.merge import Merged
    from tfx_edge.stages.savings import Savings

MERGE_PURPOSE = "(outputs), which takes the list of the models' symbolic outputs and returns what it makes of them"
_BATCHES = 4


def merge_models(request: Request, progress: Progress) -> dict[str, Any]:
    """Merges the input models, checks the outcome and returns the output's properties."""
    from tfx_edge.merging.merge import merge
    from tfx_edge.models import saving
    from tfx_edge.models.tracing import trace_as_it_is
    from tfx_edge.stages.training import properties

    trace_as_it_is()
    stage = StageContext(request)
    config = MergerConfig.parse(request.properties["config"])
    uris = several.uris(request.inputs, "models")
    merge_fn = stage.user_code.require("merge_fn", MERGE_PURPOSE) if config.function == "module" else None
    batches = _real_batches(stage)
    models = [_load(stage, uri, batches) for uri in uris]
    switches = config.model_dump(include={"share", "linear", "fuse", "grouped"})
    made = merge(models, config.function, config.weights, merge_fn, **switches)
    if len(uris) == 1 and not made.done and not merge_fn:
        raise ModelError(_nothing(uris[0], switches))
    result = _compared(made, batches, config, progress)
    for kind, number in made.done.items():
        progress(f"{kind}: {number:,}")
    saved = _savings(made, config, progress)
    result |= {"done": made.done, "savings": saved.to_dict()}
    saving.save_stage(made.model, stage.output_uri, _steps(uris, config, result))
    return {
        **properties(stage, config, uris),
        "models": len(uris),
        "difference": result["difference"],
        **saved.properties(),
    }


def _real_batches(stage: StageContext) -> list[dict[str, np.ndarray]]:
    """The first batches of the training split; empty when there are no examples at all."""
    if not stage.request.inputs.get("examples"):
        return []
    batches = stage.arrays("train", SAMPLE_EXAMPLES, labelled=False)
    found = [features for features, _ in itertools.islice(batches, _BATCHES)]
    if not found:
        raise DataError("the training split has no examples to compare outputs on")
    return found


def _load(stage: StageContext, uri: str, batches: list[dict[str, np.ndarray]]) -> tf_keras.Model:
    """A model; ``build_model_fn`` finds its uri in ``fn_args.base_model``."""
    from tfx_edge.models.trainable import load_trainable

    build = stage.user_code.get("build_model_fn")
    fn_args = FnArgs(**{**stage.request.fn_args, "base_model": uri})
    return load_trainable(uri, batches[:1], functools.partial(build, fn_args) if build else None)


def _nothing(uri: str, switches: dict[str, bool]) -> str:
    off = [name for name, on in switches.items() if not on]
    more = f", or switch {', '.join(off)} on" if off else ""
    return (
        f"Merger changes nothing in {uri}, a single model in which no layer can be spared: leave the Merger out, or "
        f"give several models{more}"
    )


def _compared(
    made: Merged, batches: list[dict[str, np.ndarray]], config: MergerConfig, progress: Progress
) -> dict[str, Any]:
    """Compares outputs with those of the models and their function.

    Raises:
      ModelError: they differ by more than the tolerance.
    """
    from tfx_edge.merging.merge import difference
    from tfx_edge.models.random_inputs import random_batch

    compared = batches or [random_batch(made.composed, SAMPLE_EXAMPLES, config.seed)]
    found = difference(made.composed, made.model, compared)
    examples = sum(len(next(iter(batch.values()))) for batch in compared)
    on = f"{examples} {'examples' if batches else 'random inputs'}"
    if not found <= config.tolerance:
        raise ModelError(
            f"the merged model differs from the models and their function by {found:.3g} of an output's largest value "
            f"on {on}, more than tolerance {config.tolerance:g}: switch off linear, fuse or share in turn to find the "
            "cause"
        )
    progress(f"outputs differ by {found:.3g} of their largest values on {on}")
    return {"difference": found, "compared_on": on}


def _savings(made: Merged, config: MergerConfig, progress: Progress) -> Savings:
    from tfx_edge.stages.savings import Savings, cost

    with tempfile.TemporaryDirectory(prefix="tfx-edge-") as scratch:
        saved = Savings(cost(made.composed, Path(scratch), "before"), cost(made.model, Path(scratch), "after"))
        saved = saved.timed() if config.measure_latency else saved
    for line in saved.lines():
        progress(line)
    return saved


def _steps(uris: list[str], config: MergerConfig, result: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps of a single model go on; those of several are kept with each."""
    step = {"component": "Merger", "recipe": config.model_dump(mode="json"), "result": result}
    if len(uris) == 1:
        return [*layout.read_steps(uris[0]), step]
    models = [{"uri": uri, "sha256": model_digest(uri), "steps": layout.read_steps(uri)} for uri in uris]
    return [{**step, "result": {**result, "models": models}}]
