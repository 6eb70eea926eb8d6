"""A plain TFX pipeline on the wine data, as the TFX tutorials write it."""

from __future__ import annotations

from tfx.components import CsvExampleGen, Pusher, SchemaGen, StatisticsGen, Trainer, Transform
from tfx.orchestration import metadata, pipeline
from tfx.proto import pusher_pb2, trainer_pb2

from tfx_edge import EdgeEvaluator, LiteConverter, Quantizer


def create_pipeline(
    pipeline_name: str,
    pipeline_root: str,
    data_root: str,
    preprocessing_file: str,
    module_file: str,
    serving_model_dir: str,
    metadata_path: str,
    beam_pipeline_args: list[str],
) -> pipeline.Pipeline:
    example_gen = CsvExampleGen(input_base=data_root)
    statistics_gen = StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = SchemaGen(
        statistics=statistics_gen.outputs["statistics"],
        infer_feature_shape=True,
    )
    transform = Transform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        module_file=preprocessing_file,
        disable_statistics=True,
    )
    trainer = Trainer(
        module_file=module_file,
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema_gen.outputs["schema"],
        train_args=trainer_pb2.TrainArgs(num_steps=200),
        eval_args=trainer_pb2.EvalArgs(num_steps=5),
    )
    float_model = LiteConverter(model=trainer.outputs["model"])
    int8_model = Quantizer(
        model=float_model.outputs["edge_model"],
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        label_key="cultivar_xf",
        module_file=module_file,
        config={"recipe": "int8"},
    )
    gate = EdgeEvaluator(
        model=int8_model.outputs["edge_model"],
        baseline_model=float_model.outputs["edge_model"],
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        label_key="cultivar_xf",
        config={
            "thresholds": {"accuracy": {"min": 0.8, "max_drop": 0.1}, "size_bytes": {"max": 20_000}},
        },
    )
    pusher = Pusher(
        model=int8_model.outputs["edge_model"],
        model_blessing=gate.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=serving_model_dir),
        ),
    )
    return pipeline.Pipeline(
        pipeline_name=pipeline_name,
        pipeline_root=pipeline_root,
        components=[
            example_gen,
            statistics_gen,
            schema_gen,
            transform,
            trainer,
            float_model,
            int8_model,
            gate,
            pusher,
        ],
        enable_cache=True,
        metadata_connection_config=metadata.sqlite_metadata_connection_config(metadata_path),
        beam_pipeline_args=beam_pipeline_args,
    )
