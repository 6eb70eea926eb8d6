"""The digits pipeline: a float model, three edge variants, a gate for each, and Pusher behind the last one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfx.components import ImportExampleGen, Pusher, SchemaGen, StatisticsGen, Trainer, Transform
from tfx.orchestration import metadata, pipeline
from tfx.proto import example_gen_pb2, pusher_pb2, trainer_pb2

from tfx_edge import Distiller, EdgeEvaluator, LiteConverter, Pruner, Quantizer

MODULE = "tfx_edge.pipelines.digits.module"
VARIANTS = {
    "float32": "float32",
    "dynamic": "dynamic int8",
    "int8": "int8 after training",
    "candidate": "distilled, pruned, int8 in training",
}


def create(root: Path, thresholds: dict[str, Any], epochs: int = 20) -> pipeline.Pipeline:
    """Builds the pipeline.

    Args:
      root: everything is kept below: data, metadata, artifacts and ``pushed/``.
      thresholds: what the candidate must meet.
      epochs: of Trainer and Distiller.
    """
    split = example_gen_pb2.SplitConfig
    examples = ImportExampleGen(
        input_base=str(root / "data"),
        output_config=example_gen_pb2.Output(
            split_config=split(
                splits=[split.Split(name="train", hash_buckets=3), split.Split(name="eval", hash_buckets=1)]
            )
        ),
    )
    statistics = StatisticsGen(examples=examples.outputs["examples"])
    schema = SchemaGen(statistics=statistics.outputs["statistics"], infer_feature_shape=True)
    transform = Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn=f"{MODULE}.preprocessing_fn",
    )
    trainer = Trainer(
        run_fn=f"{MODULE}.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        train_args=trainer_pb2.TrainArgs(),
        eval_args=trainer_pb2.EvalArgs(),
        custom_config={"epochs": epochs},
    )
    data: dict[str, Any] = {
        "examples": transform.outputs["transformed_examples"],
        "transform_graph": transform.outputs["transform_graph"],
        "label_key": "label",
    }

    def gate(name: str, model: Any, bounds: dict[str, Any], baseline: Any = None) -> EdgeEvaluator:
        config = {"thresholds": bounds}
        return EdgeEvaluator(model=model, baseline_model=baseline, config=config, **data).with_id(
            f"EdgeEvaluator.{name}"
        )

    converter = LiteConverter(model=trainer.outputs["model"]).with_id("LiteConverter.float32")
    baseline = converter.outputs["edge_model"]
    dynamic = Quantizer(model=baseline, config={"recipe": "dynamic_int8"}).with_id("Quantizer.dynamic")
    int8 = Quantizer(model=baseline, config={"recipe": "int8"}, **data).with_id("Quantizer.int8")
    distiller = Distiller(
        model=trainer.outputs["model"], config={"epochs": epochs, "seed": 1}, module_path=MODULE, **data
    )
    pruning = {"method": {"final_sparsity": 0.5, "ranking": "global"}, "epochs": 8}
    pruner = Pruner(model=distiller.outputs["edge_model"], config=pruning, **data)
    qat = Quantizer(
        model=pruner.outputs["edge_model"],
        config={"recipe": "qat_int8", "epochs": 5},
        **data,
    ).with_id("Quantizer.qat")
    candidate = LiteConverter(model=qat.outputs["edge_model"], config={"recipe": "int8"}).with_id("LiteConverter.int8")
    gates = [
        gate("float32", baseline, {"accuracy": {"min": 0.9}}),
        gate("dynamic", dynamic.outputs["edge_model"], thresholds, baseline),
        gate("int8", int8.outputs["edge_model"], thresholds, baseline),
        gate("candidate", candidate.outputs["edge_model"], thresholds, baseline),
    ]
    pusher = Pusher(
        model=candidate.outputs["edge_model"],
        model_blessing=gates[-1].outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(root / "pushed"))
        ),
    )
    return pipeline.Pipeline(
        pipeline_name="digits",
        pipeline_root=str(root / "artifacts"),
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(root / "metadata" / "metadata.db")),
        components=[
            examples, statistics, schema, transform, trainer, converter, dynamic, int8,
            distiller, pruner, qat, candidate, *gates, pusher,
        ],
        enable_cache=True,
        beam_pipeline_args=["--runner=apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner"],
    )  # fmt: skip
