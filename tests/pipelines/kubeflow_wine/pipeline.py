"""A pipeline that begins with a trained model and ends with Pusher, as its author would compile it."""

from __future__ import annotations

from ready import LABEL_KEY, SPLITS
from tfx.components import Pusher
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2
from tfx.types.standard_artifacts import Examples, Model, Schema

from tfx_edge import EdgeEvaluator, LiteConverter, Quantizer


def create_pipeline(store: str, push_to: str) -> Pipeline:
    """Convert, quantize, judge beside the float model, push.

    Args:
      store: holds ``model``, ``examples`` and ``schema``.
      push_to: a folder of a volume.
    """
    trained = Importer(
        source_uri=RuntimeParameter("model-uri", ptype=str, default=f"{store}/model"), artifact_type=Model
    ).with_id("trained")
    examples = Importer(
        source_uri=f"{store}/examples", artifact_type=Examples, properties={"split_names": SPLITS}
    ).with_id("examples")
    schema = Importer(source_uri=f"{store}/schema", artifact_type=Schema).with_id("schema")
    data = {"examples": examples.outputs["result"], "schema": schema.outputs["result"], "label_key": LABEL_KEY}
    float_model = LiteConverter(model=trained.outputs["result"])
    int8 = Quantizer(model=float_model.outputs["edge_model"], config={"recipe": "int8"}, **data)
    gate = EdgeEvaluator(
        model=int8.outputs["edge_model"],
        baseline_model=float_model.outputs["edge_model"],
        config=RuntimeParameter(
            "gate-config", ptype=str, default='{"thresholds": {"accuracy": {"min": 0.8, "max_drop": 0.1}}}'
        ),
        **data,
    ).with_id("EdgeEvaluator.candidate")
    pusher = Pusher(
        model=int8.outputs["edge_model"],
        model_blessing=gate.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=push_to)
        ),
    )
    return Pipeline(
        pipeline_name="wine",
        pipeline_root="minio://mlpipeline/root",
        components=[trained, examples, schema, float_model, int8, gate, pusher],
        enable_cache=True,
    )
