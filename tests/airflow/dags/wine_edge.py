"""The wine pipeline as an Airflow DAG: every day a model is trained, shrunk, measured, and pushed if it is blessed."""

from __future__ import annotations

import datetime
import json
import os

from airflow.operators.bash import BashOperator
from airflow.operators.python import ShortCircuitOperator
from tfx.components import CsvExampleGen, Pusher, SchemaGen, StatisticsGen, Trainer, Transform
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import pusher_pb2, trainer_pb2

from tfx_edge import EdgeEvaluator, LiteConverter, Quantizer
from tfx_edge.airflow import AirflowDagRunner, AirflowPipelineConfig
from tfx_edge.lineage.newest import NotBlessedError, newest_verdict

ROOT = os.environ["WINE_ROOT"]
THRESHOLDS = {"accuracy": {"min": 0.8, "max_drop": 0.1}, "size_bytes": {"max": 20_000}}


def parameter(name: str, default: dict) -> RuntimeParameter:
    """A configuration that the conf of a DAG run may replace."""
    return RuntimeParameter(name=name, ptype=str, default=json.dumps(default))


def create_pipeline() -> pipeline.Pipeline:
    example_gen = CsvExampleGen(input_base=f"{ROOT}/data")
    statistics_gen = StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = SchemaGen(statistics=statistics_gen.outputs["statistics"], infer_feature_shape=True)
    transform = Transform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        preprocessing_fn="wine_preprocessing.preprocessing_fn",
        disable_statistics=True,
    )
    trainer = Trainer(
        run_fn="wine_model.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema_gen.outputs["schema"],
        train_args=trainer_pb2.TrainArgs(num_steps=200),
        eval_args=trainer_pb2.EvalArgs(num_steps=5),
    )
    data = {
        "examples": transform.outputs["transformed_examples"],
        "transform_graph": transform.outputs["transform_graph"],
        "label_key": "cultivar_xf",
    }
    float_model = LiteConverter(model=trainer.outputs["model"])
    int8_model = Quantizer(
        model=float_model.outputs["edge_model"],
        module_path="wine_model",
        config=parameter("quantizer", {"recipe": "int8"}),
        **data,
    )
    gate = EdgeEvaluator(
        model=int8_model.outputs["edge_model"],
        baseline_model=float_model.outputs["edge_model"],
        config=parameter("gate", {"thresholds": THRESHOLDS}),
        **data,
    )
    pusher = Pusher(
        model=int8_model.outputs["edge_model"],
        model_blessing=gate.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=f"{ROOT}/pushed"),
        ),
    )
    return pipeline.Pipeline(
        pipeline_name="wine_edge",
        pipeline_root=f"{ROOT}/artifacts",
        components=[
            example_gen, statistics_gen, schema_gen, transform, trainer, float_model, int8_model, gate, pusher,
        ],
        enable_cache=True,
        metadata_connection_config=metadata.sqlite_metadata_connection_config(f"{ROOT}/metadata.db"),
        beam_pipeline_args=["--runner=apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner"],
    )  # fmt: skip


DAG = AirflowDagRunner(
    AirflowPipelineConfig(
        airflow_dag_config={
            "schedule": "0 3 * * *",
            "start_date": datetime.datetime(2026, 1, 1),
            "catchup": False,
            "max_active_runs": 1,
        }
    )
).run(create_pipeline())


def is_blessed(run_id: str) -> bool:
    """Whether the gate blessed in this run."""
    try:
        print(newest_verdict(f"{ROOT}/metadata.db", "EdgeEvaluator", DAG.dag_id, run_id))
    except NotBlessedError as error:
        print(error)
        return False
    return True


blessed = ShortCircuitOperator(task_id="blessed", python_callable=is_blessed, dag=DAG)
roll_out = BashOperator(task_id="roll_out", bash_command=f"ls -d {ROOT}/pushed/* | tail -n 1", dag=DAG)
DAG.get_task("Pusher") >> blessed >> roll_out
