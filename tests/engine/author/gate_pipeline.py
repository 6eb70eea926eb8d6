"""A pipeline as an author writes it, in files of their own: judge a model that there is, and push it."""

from author_components import bring
from tfx.components import Pusher
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2

from tfx_edge import EdgeEvaluator


def create_pipeline(root: str) -> Pipeline:
    """Judges a model and pushes it.

    Args:
      root: a folder of a volume: holds ``model``, ``examples`` and ``graph``, and takes ``pushed``.
    """
    given = bring(source=root).with_id("bring")
    gate = EdgeEvaluator(
        model=given.outputs["model"],
        examples=given.outputs["examples"],
        transform_graph=given.outputs["graph"],
        label_key="label",
        config=RuntimeParameter("gate-config", ptype=str, default='{"thresholds": {"accuracy": {"min": 0.8}}}'),
    ).with_id("EdgeEvaluator.candidate")
    pusher = Pusher(
        model=given.outputs["model"],
        model_blessing=gate.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=f"{root}/pushed")
        ),
    )
    return Pipeline(pipeline_name="gate", pipeline_root="gs://bucket/root", components=[given, gate, pusher])
