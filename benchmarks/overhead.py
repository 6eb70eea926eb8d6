"""What a component adds to its work: the wall time of a step in a TFX pipeline, beside that of calling the core.

    python benchmarks/overhead.py [TASK] [--root build/tasks/TASK] [--rounds 5] [--work build/bench-overhead]

Takes model and examples from the root of a task's pipeline that has run (``python -m tfx_edge.pipelines.run``). Each
round runs, one after another, a pipeline under LocalDagRunner that only imports these artifacts; for each step, the
same pipeline with the step at its end, all in one process that has TFX in memory; and the same work by plain calls in a
process of its own, from its start to its end. A step costs what its pipeline takes longer than the one without; its
ratio to the calls is within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECIPE = "int8"
TRAINING = {"epochs": 1, "batch_size": 64, "learning_rate": 1e-4}


def core_convert(uris: dict[str, str], out: Path) -> None:
    """Trainer's model to a float ``.tflite``, compared on real examples."""
    from tfx_edge.conversion.convert import convert

    made = convert(uris["keras"], batches=[_first(uris, 32)])
    out.write_bytes(made.content)


def core_quantize(uris: dict[str, str], out: Path) -> None:
    """Int8 after training, with calibration and its audit."""
    from tfx_edge.examples import audit, sampling
    from tfx_edge.quantization.calibration import calibrate_halves
    from tfx_edge.quantization.quantize import quantize
    from tfx_edge.quantization.recipe import Recipe

    recipe = Recipe(preset=RECIPE)
    path = Path(uris["lite"], "Format-Serving", "tflite")
    batches = ((batch, batch.pop("label")) for batch in _batches(uris, "train", 256))
    sample = sampling.draw(batches, recipe.calibration.examples, recipe.calibration.seed)
    calibrated = calibrate_halves(path, sample.examples, recipe.calibration, recipe.activation_bits)
    evaluation = ((batch, batch.pop("label")) for batch in _batches(uris, "eval", 256))
    audit.audit(sample, calibrated, evaluation)
    made = quantize(path, recipe, statistics=calibrated.statistics)
    out.write_bytes(made.content)


def core_train(uris: dict[str, str], out: Path) -> None:
    """An epoch of quantization-aware training."""
    import numpy as np
    import tensorflow as tf
    import tf_keras

    from tfx_edge.models.saving import model_input_names, save_quantization_aware
    from tfx_edge.models.trainable import load_trainable
    from tfx_edge.quantization.recipe import Recipe
    from tfx_edge.quantize_aware import quantize_aware
    from tfx_edge.training.data import TrainingData
    from tfx_edge.training.training import compile_for_labels, fit
    from tfx_edge.training.types import FitConfig

    config = FitConfig(**TRAINING)
    tf_keras.utils.set_random_seed(config.seed)
    model = load_trainable(uris["keras"], [_first(uris, 64)])
    wrapped, _ = quantize_aware.wrap(model, Recipe(preset="qat_int8"), preserve=())

    def dataset(split: str) -> tf.data.Dataset:
        batches = list(_batches(uris, split, config.batch_size))
        features = {name: np.concatenate([batch[name] for batch in batches]) for name in model_input_names(model)}
        labels = np.concatenate([batch["label"] for batch in batches])
        return tf.data.Dataset.from_tensor_slices((features, labels)).batch(config.batch_size)

    train, evaluation = dataset("train"), dataset("eval")
    data = TrainingData(train, evaluation, len(train), config.batch_size, config.seed)
    compile_for_labels(wrapped, train.element_spec[1], config.learning_rate, model)
    fit(wrapped, data, config, lambda line: None)
    save_quantization_aware(wrapped, str(out), [], model.output_names)


CORE: dict[str, Callable[[dict[str, str], Path], None]] = {
    "LiteConverter": core_convert,
    "Quantizer, int8": core_quantize,
    "Quantizer, qat_int8": core_train,
}


def _batches(uris: dict[str, str], split: str, size: int) -> Any:
    from tfx_edge.examples.decoding import ExampleDecoder, read_batches, read_schema

    schema = read_schema(Path(uris["graph"], "transformed_metadata", "schema.pbtxt"))
    return read_batches(ExampleDecoder(schema), [str(Path(uris["examples"], f"Split-{split}", "*"))], size)


def _first(uris: dict[str, str], size: int) -> dict[str, Any]:
    batch = next(iter(_batches(uris, "train", size)))
    del batch["label"]
    return batch


class Runner:
    """Runs pipelines on the artifacts, each new below ``work``."""

    def __init__(self, uris: dict[str, str], task: str, work: Path) -> None:
        self.uris = uris
        self.user = {"module_path": f"tfx_edge.pipelines.{task}.module", "label_key": "label"}
        self.work = work

    def seconds(self, step: str | None) -> float:
        """Wall time of a pipeline with a step, or without any."""
        from tfx.orchestration import metadata, pipeline
        from tfx.orchestration.local.local_dag_runner import LocalDagRunner

        root = self.work / "pipeline"
        shutil.rmtree(root, ignore_errors=True)
        imported = self._imported()
        nodes = [*imported.values(), *([self._step(step, imported)] if step else [])]
        connection = metadata.sqlite_metadata_connection_config(str(root / "metadata.db"))
        built = pipeline.Pipeline(
            pipeline_name="overhead",
            pipeline_root=str(root / "artifacts"),
            metadata_connection_config=connection,
            components=nodes,
            enable_cache=False,
        )
        start = time.perf_counter()
        LocalDagRunner().run(built)
        return time.perf_counter() - start

    def _imported(self) -> dict[str, Any]:
        from tfx.dsl.components.common.importer import Importer
        from tfx.types import standard_artifacts

        types: dict[str, tuple[Any, dict[str, str] | None]] = {
            "keras": (standard_artifacts.Model, None),
            "lite": (standard_artifacts.Model, None),
            "examples": (standard_artifacts.Examples, {"split_names": '["train", "eval"]'}),
            "graph": (standard_artifacts.TransformGraph, None),
        }
        return {
            name: Importer(source_uri=self.uris[name], artifact_type=kind, properties=properties).with_id(name)
            for name, (kind, properties) in types.items()
        }

    def _step(self, step: str, imported: dict[str, Any]) -> Any:
        from tfx_edge import LiteConverter, Quantizer

        given = {name: node.outputs["result"] for name, node in imported.items()}
        data = {"examples": given["examples"], "transform_graph": given["graph"], **self.user}
        if step == "LiteConverter":
            return LiteConverter(model=given["keras"])
        if step == "Quantizer, int8":
            return Quantizer(model=given["lite"], config={"recipe": RECIPE}, **data)
        return Quantizer(model=given["keras"], config={"recipe": "qat_int8", **TRAINING}, **data)


def artifacts(root: Path) -> dict[str, str]:
    """Uris of what a task's pipeline left."""
    from tfx_edge.lineage.store import Store

    store = Store(root / "metadata" / "metadata.db")
    wanted = {
        "keras": ("Trainer", "Model"),
        "lite": ("LiteConverter.float32", "Model"),
        "examples": ("Transform", "Examples"),
        "graph": ("Transform", "TransformGraph"),
    }
    return {name: store.newest_output(*place)["uri"] for name, place in wanted.items()}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="?", default="fashion_mnist", help="a package below tfx_edge.pipelines")
    parser.add_argument("--root", type=Path, help="of the task's pipeline, build/tasks/TASK when it is not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("build/bench-overhead"))
    parser.add_argument("--core", nargs=2, metavar=("STEP", "URIS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if options.core:
        step, uris = options.core
        CORE[step](json.loads(uris), options.work / "calls" / "model")
        return
    import tfx.components  # noqa: F401  (TFX's start-up is not what is measured)

    uris = artifacts(options.root or Path("build/tasks", options.task))
    runner = Runner(uris, options.task, options.work.resolve())
    runner.seconds(None)
    steps, calls = ({step: list[float]() for step in CORE} for _ in range(2))
    for number in range(options.rounds):
        without = runner.seconds(None)
        for step in CORE:
            steps[step].append(runner.seconds(step) - without)
            shutil.rmtree(options.work / "calls", ignore_errors=True)
            (options.work / "calls").mkdir(parents=True)
            command = [sys.executable, __file__, "--work", str(options.work), "--core", step, json.dumps(uris)]
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            calls[step].append(time.perf_counter() - start)
            print(f"round {number + 1}, {step}: {steps[step][-1]:.2f} s, {calls[step][-1]:.2f} s", file=sys.stderr)
    print("| step | in a pipeline, s | calls, s | ratio (least to greatest) |\n|---|---:|---:|---:|")
    for step in CORE:
        ratios = sorted(a / b for a, b in zip(steps[step], calls[step], strict=True))
        print(
            f"| {step} | {statistics.median(steps[step]):.2f} | {statistics.median(calls[step]):.2f} "
            f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
        )


if __name__ == "__main__":
    main()
