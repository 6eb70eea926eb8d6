"""What Pruner does, in a process of its own without TFX."""

from __future__ import annotations

import re
from typing import Any

from tfx_edge.models.training_types import Progress
from tfx_edge.pruner.spec import PrunerConfig
from tfx_edge.stages.child import Request
from tfx_edge.stages.context import StageContext


def prune(request: Request, progress: Progress) -> dict[str, Any]:
    """Prunes and fine-tunes the input model and returns the output's properties."""
    import tf_keras

    from tfx_edge.models import prune, saving, training
    from tfx_edge.stages.training import finish

    stage = StageContext(request)
    config = PrunerConfig.parse(request.properties["config"])
    tf_keras.utils.set_random_seed(config.seed)
    model = stage.load_model()
    train, evaluation, steps = stage.training_data(saving.model_input_names(model), config.batch_size, config.seed)

    def matches(name: str) -> bool:
        return re.fullmatch(config.layers, name) is not None

    wrapped = prune.wrap(
        model,
        initial_sparsity=config.initial_sparsity,
        final_sparsity=config.final_sparsity,
        end_step=max(1, steps * config.epochs * 2 // 3),
        matches=matches,
    )
    stage.compile(wrapped, model, train, config.learning_rate)
    figures = training.fit(wrapped, train, evaluation, config.epochs, progress, [prune.step_callback()])
    stripped = prune.strip(wrapped)
    shares = prune.measure_sparsity(stripped)
    prune.check_sparsity(shares, config.final_sparsity, matches)
    progress("sparsity " + ", ".join(f"{name} {share:.2f}" for name, share in shares.items()))
    return finish(stage, stripped, "Pruner", config, {**figures, "sparsity": shares})
