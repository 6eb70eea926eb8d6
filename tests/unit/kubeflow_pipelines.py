"""Pipelines that are compiled for Kubeflow in tests, and never run here."""

from __future__ import annotations

from typing import Any

from tfx.components import ImportExampleGen, Pusher, SchemaGen, StatisticsGen, Trainer, Transform
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import example_gen_pb2, pusher_pb2, trainer_pb2

from tfx_edge import EdgeEvaluator, LiteConverter, Quantizer

MODULE = "tfx_edge.pipelines.digits.module"
ROOT = "gs://bucket/wine"


def create_pipeline(
    name: str = "wine",
    epochs: int = 2,
    push_to: str = "gs://bucket/pushed",
    extra: list[Any] | None = None,
    **changes: Any,
) -> Pipeline:
    """ExampleGen to Pusher with two gates; ``changes`` replace arguments: ``<component>_<argument>``."""

    def changed(component: str, **arguments: Any) -> dict[str, Any]:
        prefix = f"{component}_"
        return arguments | {key.removeprefix(prefix): value for key, value in changes.items() if key.startswith(prefix)}

    examples = ImportExampleGen(**changed("examples", input_base="gs://bucket/data"))
    statistics = StatisticsGen(examples=examples.outputs["examples"])
    schema = SchemaGen(statistics=statistics.outputs["statistics"], infer_feature_shape=True)
    transform = Transform(
        **changed(
            "transform",
            examples=examples.outputs["examples"],
            schema=schema.outputs["schema"],
            preprocessing_fn=f"{MODULE}.preprocessing_fn",
        )
    )
    trainer = Trainer(
        **changed(
            "trainer",
            run_fn=f"{MODULE}.run_fn",
            examples=transform.outputs["transformed_examples"],
            transform_graph=transform.outputs["transform_graph"],
            train_args=trainer_pb2.TrainArgs(),
            eval_args=trainer_pb2.EvalArgs(),
            custom_config={"epochs": epochs},
        )
    )
    data = {
        "examples": transform.outputs["transformed_examples"],
        "transform_graph": transform.outputs["transform_graph"],
        "label_key": "label",
    }
    float_model = LiteConverter(model=trainer.outputs["model"]).with_id("LiteConverter.float32")
    int8 = Quantizer(model=float_model.outputs["edge_model"], config={"recipe": "int8"}, **data)
    dynamic = Quantizer(model=float_model.outputs["edge_model"], config={"recipe": "dynamic_int8"}).with_id(
        "Quantizer.dynamic"
    )
    watched = EdgeEvaluator(
        model=float_model.outputs["edge_model"], config={"thresholds": {"accuracy": {"min": 0.5}}}, **data
    ).with_id("EdgeEvaluator.float32")
    gate = EdgeEvaluator(
        **changed(
            "gate",
            model=int8.outputs["edge_model"],
            baseline_model=float_model.outputs["edge_model"],
            config=RuntimeParameter("gate-config", ptype=str, default='{"thresholds": {"accuracy": {"min": 0.9}}}'),
            **data,
        )
    ).with_id("EdgeEvaluator.candidate")
    pusher = Pusher(
        **changed(
            "pusher",
            model=int8.outputs["edge_model"],
            model_blessing=gate.outputs["blessing"],
            push_destination=pusher_pb2.PushDestination(
                filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=push_to)
            ),
        )
    )
    components = [
        examples, statistics, schema, transform, trainer, float_model, int8, dynamic, watched, gate, pusher,
    ]  # fmt: skip
    return Pipeline(
        pipeline_name=name,
        pipeline_root=changes.get("root", ROOT),
        components=[*components, *(extra or [])],
        enable_cache=True,
        beam_pipeline_args=["--runner=apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner"],
    )


def spans() -> example_gen_pb2.Input:
    """An input that only a driver can find."""
    return example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name="train", pattern="span-{SPAN}/train/*")])
