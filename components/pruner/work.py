"""What Pruner does, in a process of its own without TFX."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_edge.errors import EdgeError, ModelError
from tfx_edge.pruner.spec import PrunerConfig
from tfx_edge.pruning.settings import Clusters, Magnitude
from tfx_edge.stages.child import Request
from tfx_edge.stages.context import StageContext
from tfx_edge.training.types import Progress

if TYPE_CHECKING:
    import tf_keras

    from tfx_edge.pruner.outcome import Job, Outcome
    from tfx_edge.stages.savings import Cost, Savings


def prune(request: Request, progress: Progress) -> dict[str, Any]:
    """Makes the input model smaller, trains it, and returns the output's properties."""
    import tf_keras

    from tfx_edge.models import saving
    from tfx_edge.pruner.outcome import Job
    from tfx_edge.stages.resuming import resumable
    from tfx_edge.stages.training import finish

    stage = StageContext(request)
    config = PrunerConfig.parse(request.properties["config"])
    tf_keras.utils.set_random_seed(config.seed)
    model = stage.load_model()
    outputs = _outputs(model)
    data = stage.training_data(saving.model_input_names(model), config.batch_size, config.seed)
    with tempfile.TemporaryDirectory(prefix="tfx-edge-") as scratch, resumable(stage, config) as checkpoint:
        before = _cost(model, Path(scratch), "before", progress)
        job = Job(stage, config, model, data, before, Path(scratch), checkpoint, progress)
        made = _made(job)
        _check_outputs(stage, made.model, outputs)
        saved = _savings(before, made.model, Path(scratch), config.measure_latency, progress)
        result = {**made.result, **({"savings": saved.to_dict()} if saved else {})}
        properties = finish(stage, made.model, "Pruner", config, result)
        _check_saved(stage, made.model)
    return {**properties, **made.properties, **(saved.properties() if saved else {})}


def _made(job: Job) -> Outcome:
    from tfx_edge.pruner import removal, sharing, zeroing

    method = job.config.method
    if isinstance(method, Magnitude):
        return zeroing.run(job, method)
    if isinstance(method, Clusters):
        return sharing.run(job, method)
    return removal.run(job, method)


def _cost(model: tf_keras.Model, folder: Path, name: str, progress: Progress) -> Cost | None:
    """What the model costs as a float ``.tflite``; None where it cannot be converted just so."""
    from tfx_edge.stages import savings

    try:
        return savings.cost(model, folder, name)
    except EdgeError as error:
        progress(f"savings are not known: {error}")
        return None


def _savings(
    before: Cost | None, model: tf_keras.Model, folder: Path, timed: bool, progress: Progress
) -> Savings | None:
    from tfx_edge.stages.savings import Savings

    after = _cost(model, folder, "after", progress) if before else None
    if not before or not after:
        return None
    saved = Savings(before, after)
    if timed:
        try:
            saved = saved.timed()
        except EdgeError as error:
            progress(f"the time is not known: {error}")
    for line in saved.lines():
        progress(line)
    return saved


def _outputs(model: tf_keras.Model) -> dict[str, Any]:
    from tfx_edge.models.saving import symbolic_outputs

    return {name: tuple(tensor.shape) for name, tensor in symbolic_outputs(model).items()}


def _check_outputs(stage: StageContext, model: tf_keras.Model, wanted: dict[str, Any]) -> None:
    """Checks names and shapes of the outputs, and that those for real examples are numbers.

    Raises:
      ModelError: they are not.
    """
    import numpy as np
    import tensorflow as tf

    from tfx_edge.models import saving

    if _outputs(model) != wanted:
        raise ModelError(f"the model had the outputs {wanted} and has {_outputs(model)}")
    for batch in stage.samples():
        found = model(saving.pack_features(model, batch), training=False)
        if not all(np.all(np.isfinite(values)) for values in tf.nest.flatten(found)):
            raise ModelError("the model gives outputs that are not finite numbers: lower learning_rate")


def _check_saved(stage: StageContext, model: tf_keras.Model) -> None:
    """Checks that every weight was saved as it is, number by number, so that what was counted is in the file.

    Raises:
      ModelError: one was not.
    """
    import h5py
    import numpy as np

    from tfx_edge.models import layout

    saved: set[tuple[tuple[int, ...], bytes]] = set()

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            values = np.asarray(item)
            saved.add((values.shape, values.tobytes()))

    path = layout.keras_file(stage.output_uri)
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file, h5py.File(file, "r") as content:
        content.visititems(take)
    for weight in model.weights:
        values = np.asarray(weight)
        if (values.shape, values.tobytes()) not in saved:
            raise ModelError(f"{weight.name} in {path} is not what it was in the trained model")
