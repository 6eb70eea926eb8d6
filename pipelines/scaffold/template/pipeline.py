"""The pipeline, for every orchestrator: train, convert, quantize, measure, and push what the gate blesses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfx.components import CsvExampleGen, Pusher, SchemaGen, StatisticsGen, Trainer, Transform
from tfx.orchestration import metadata
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2

from tfx_edge import EdgeEvaluator, LiteConverter, Quantizer
from tfx_edge.edge_evaluator.spec import EdgeEvaluatorConfig

NAME = "$name"
HERE = Path(__file__).resolve().parent
MODULE = str(HERE / "model" / "wine_model.py")


def create_pipeline(root: Path = HERE, gate: str | None = None) -> Pipeline:
    """Builds the pipeline.

    Args:
      root: holds ``data/*.csv``; artifacts, metadata and what is pushed are kept there, too.
      gate: what must hold, JSON as in ``gate.json``. Without it that file is the default of the parameter
        ``gate-config``, which each run of Kubeflow or Airflow may set.
    """
    example_gen = CsvExampleGen(input_base=str(root / "data"))
    statistics_gen = StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = SchemaGen(statistics=statistics_gen.outputs["statistics"], infer_feature_shape=True)
    transform = Transform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        module_file=MODULE,
        disable_statistics=True,
    )
    data: dict[str, Any] = {
        "examples": transform.outputs["transformed_examples"],
        "transform_graph": transform.outputs["transform_graph"],
    }
    trainer = Trainer(
        module_file=MODULE,
        train_args=trainer_pb2.TrainArgs(),
        eval_args=trainer_pb2.EvalArgs(),
        custom_config={"epochs": 20},
        **data,
    )
    float_model = LiteConverter(model=trainer.outputs["model"])
    int8_model = Quantizer(
        model=float_model.outputs["edge_model"], label_key="cultivar", config={"recipe": "int8"}, **data
    )
    gate_config = (
        EdgeEvaluatorConfig.parse(gate)
        if gate
        else RuntimeParameter("gate-config", ptype=str, default=(HERE / "gate.json").read_text())
    )
    evaluator = EdgeEvaluator(
        model=int8_model.outputs["edge_model"],
        baseline_model=float_model.outputs["edge_model"],
        label_key="cultivar",
        config=gate_config,
        **data,
    ).with_id("EdgeEvaluator.int8")
    pusher = Pusher(
        model=int8_model.outputs["edge_model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(root / "pushed"))
        ),
    )
    return Pipeline(
        pipeline_name=NAME,
        pipeline_root=str(root / "artifacts"),
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(root / "metadata" / "metadata.db")),
        components=[
            example_gen, statistics_gen, schema_gen, transform, trainer, float_model, int8_model, evaluator, pusher,
        ],
        enable_cache=True,
        beam_pipeline_args=["--runner=apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner"],
    )  # fmt: skip
