"""The pipeline of a task: one float model, a variant for each preset, and a gate for each variant."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx.components import ImportExampleGen, Pusher, SchemaGen, StatisticsGen, Trainer, Transform
from tfx.orchestration import metadata, pipeline
from tfx.proto import example_gen_pb2, pusher_pb2, trainer_pb2

from tfx_edge import EdgeEvaluator, LiteConverter, Quantizer
from tfx_edge.pipelines.task import BASELINE, RECOVERED, TRAINED, Task

_NOT_LEARNT = ("task", "__main__")  # modules that don't touch the float model


def create(task: Task, root: Path, *, only: tuple[str, ...] = (), epochs: int | None = None) -> pipeline.Pipeline:
    """Builds the pipeline.

    Args:
      task: what is learnt.
      root: everything is kept below: data, metadata, artifacts and ``pushed/``.
      only: variants to make beside the float model; all that the task allows when none is named.
      epochs: of Trainer and of quantization-aware training, instead of the task's.
    """
    chosen = [name for name in only or task.variants if name not in task.inapplicable and name != BASELINE]
    branch = _Branches(task, _Learnt(task, root, epochs), epochs)
    nodes = [*branch.learnt.components, branch.float_model, branch.gate(BASELINE, branch.baseline)]
    pushed = None
    for name in chosen:
        *made, gate = branch.variant(name)
        nodes += [*made, gate]
        if name == task.pushed:
            pushed = Pusher(
                model=made[-1].outputs["edge_model"],
                model_blessing=gate.outputs["blessing"],
                push_destination=pusher_pb2.PushDestination(
                    filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(root / "pushed"))
                ),
            )
    return pipeline.Pipeline(
        pipeline_name=task.name,
        pipeline_root=str(root / "artifacts"),
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(root / "metadata" / "metadata.db")),
        components=[*nodes, *([pushed] if pushed else [])],
        enable_cache=True,
        beam_pipeline_args=["--runner=apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner"],
    )


def code_digest(task: Task) -> str:
    """Hex SHA-256 of the code that makes the float model: TFX's cache knows a module by no more than its name."""
    packages = "tfx_edge.pipelines", task.module.rpartition(".")[0]
    shared, own = (Path(importlib.import_module(name).__path__[0]) for name in packages)
    files = [shared / "training.py", *(path for path in sorted(own.glob("*.py")) if path.stem not in _NOT_LEARNT)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


class _Learnt:
    """From the examples to the float model.

    Attributes:
      components: in the order in which they run.
      data: what a component takes that reads the transformed examples.
      model: Trainer's.
    """

    def __init__(self, task: Task, root: Path, epochs: int | None) -> None:
        code = code_digest(task)
        split = example_gen_pb2.Input.Split
        examples = ImportExampleGen(
            input_base=str(root / "data"),
            input_config=example_gen_pb2.Input(
                splits=[split(name=name, pattern=f"{name}/*.tfrecord") for name in ("train", "eval")]
            ),
        )
        statistics = StatisticsGen(examples=examples.outputs["examples"])
        schema = SchemaGen(statistics=statistics.outputs["statistics"], infer_feature_shape=True)
        transform = Transform(
            examples=examples.outputs["examples"],
            schema=schema.outputs["schema"],
            preprocessing_fn=f"{task.module}.preprocessing_fn",
            custom_config={"code": code},
        )
        transformed: dict[str, Any] = {
            "examples": transform.outputs["transformed_examples"],
            "transform_graph": transform.outputs["transform_graph"],
        }
        trainer = Trainer(
            run_fn=f"{task.module}.run_fn",
            train_args=trainer_pb2.TrainArgs(),
            eval_args=trainer_pb2.EvalArgs(),
            custom_config={"epochs": epochs or task.epochs, "code": code},
            **transformed,
        )
        self.components = [examples, statistics, schema, transform, trainer]
        self.data = {**transformed, "label_key": task.label_key, "module_path": task.module}
        self.model = trainer.outputs["model"]


class _Branches:
    """What is made of the float model."""

    def __init__(self, task: Task, learnt: _Learnt, epochs: int | None) -> None:
        self.task = task
        self.learnt = learnt
        self.training = {**task.training, **({"epochs": epochs} if epochs else {})}
        self.float_model = LiteConverter(model=learnt.model).with_id(f"LiteConverter.{BASELINE}")
        self.baseline = self.float_model.outputs["edge_model"]

    def variant(self, name: str) -> list[Any]:
        """The components that make a variant, and its gate at the end."""
        made = self._trained(name) if name == TRAINED else [self._quantized(name)]
        return [*made, self.gate(name, made[-1].outputs["edge_model"])]

    def gate(self, name: str, model: Any) -> EdgeEvaluator:
        """The evaluator of a variant: the float model must be good, and the others about as good and smaller."""
        task = self.task
        bounds: dict[str, Any] = {task.metric: {"min": task.min_quality}}
        if name != BASELINE:
            bounds = {task.metric: {"max_drop": task.max_drop}}
            if name in task.max_size_ratio:
                bounds["size_bytes"] = {"max_ratio": task.max_size_ratio[name]}
        return EdgeEvaluator(
            model=model,
            baseline_model=None if name == BASELINE else self.baseline,
            config={"thresholds": bounds, **task.gate},
            **self.learnt.data,
        ).with_id(f"EdgeEvaluator.{name}")

    def _quantized(self, name: str) -> Any:
        """Quantized after training."""
        recipe = self._recipe("int8" if name == RECOVERED else name)
        recovery = {"recovery": dict(self.task.recovery or {})} if name == RECOVERED else {}
        return Quantizer(model=self.baseline, config={"recipe": recipe, **recovery}, **self.learnt.data).with_id(
            f"Quantizer.{name}"
        )

    def _trained(self, name: str) -> list[Any]:
        """Quantized in training, then converted."""
        recipe = self._recipe(name)
        quantizer = Quantizer(
            model=self.learnt.model, config={"recipe": recipe, **self.training}, **self.learnt.data
        ).with_id(f"Quantizer.{name}")
        converter = LiteConverter(
            model=quantizer.outputs["edge_model"], config={"recipe": {**recipe, "preset": "int8"}}
        ).with_id(f"LiteConverter.{name}")
        return [quantizer, converter]

    def _recipe(self, name: str) -> Mapping[str, Any]:
        return {"preset": name, **self.task.recipes.get(name, {})}
