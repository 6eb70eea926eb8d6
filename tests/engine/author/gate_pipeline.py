"""A pipeline as an author writes it, in files of their own: judge a model that there is, and push it."""

from author_components import bring, tell
from tfx.components import Pusher
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2
from tfx.types.standard_artifacts import Model, TransformGraph

from tfx_edge import EdgeEvaluator


def create_pipeline(root: str) -> Pipeline:
    """Judges a model and pushes it.

    Args:
      root: a folder of a volume: holds ``examples``, and takes ``pushed``.
    """
    candidate = Importer(
        source_uri=RuntimeParameter("model-uri", ptype=str), artifact_type=Model, reimport=True
    ).with_id("candidate")
    graph = Importer(source_uri=RuntimeParameter("graph-uri", ptype=str), artifact_type=TransformGraph).with_id("graph")
    given = bring(source=f"{root}/examples").with_id("bring")
    told = tell(files=given.outputs["files"]).with_id("tell")
    gate = EdgeEvaluator(
        model=candidate.outputs["result"],
        examples=given.outputs["examples"],
        transform_graph=graph.outputs["result"],
        label_key="label",
        config=RuntimeParameter("gate-config", ptype=str, default='{"thresholds": {"accuracy": {"min": 0.8}}}'),
    ).with_id("EdgeEvaluator.candidate")
    pusher = Pusher(
        model=candidate.outputs["result"],
        model_blessing=gate.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=f"{root}/pushed")
        ),
    )
    return Pipeline(
        pipeline_name="gate", pipeline_root="gs://bucket/root", components=[candidate, graph, given, told, gate, pusher]
    )
