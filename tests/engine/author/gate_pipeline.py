"""A pipeline as an author writes it, in files of their own: judge a model that there is, and push it."""

import os

from author_words import GATE
from tfx.components import Pusher
from tfx.dsl.component.experimental.annotations import OutputDict
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2
from tfx.types.standard_artifacts import Examples, Model, TransformGraph

from tfx_edge import EdgeEvaluator


@component
def tell_user() -> OutputDict(uid=int):  # type: ignore[valid-type]
    """Tells as whom tasks run."""
    return {"uid": os.getuid()}


def create_pipeline(push_to: str) -> Pipeline:
    """Judges a model and pushes it.

    Args:
      push_to: a folder of a volume.
    """

    def given(name: str, artifact_type: type, **properties: str) -> Importer:
        uri = RuntimeParameter(f"{name}-uri", ptype=str, default=f"gs://bucket/{name}")
        return Importer(source_uri=uri, artifact_type=artifact_type, properties=properties or None).with_id(name)

    model = given("model", Model)
    examples = given("examples", Examples, split_names='["train", "eval"]')
    graph = given("graph", TransformGraph)
    gate = EdgeEvaluator(
        model=model.outputs["result"],
        examples=examples.outputs["result"],
        transform_graph=graph.outputs["result"],
        label_key="label",
        config=RuntimeParameter("gate-config", ptype=str, default='{"thresholds": {"accuracy": {"min": 0.8}}}'),
    ).with_id(GATE)
    pusher = Pusher(
        model=model.outputs["result"],
        model_blessing=gate.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=push_to)
        ),
    )
    return Pipeline(
        pipeline_name="gate",
        pipeline_root="gs://bucket/root",
        components=[tell_user().with_id("tell_user"), model, examples, graph, gate, pusher],
    )
