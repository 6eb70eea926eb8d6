"""Runs pipelines on scikit-learn's wine data in this process, all in one pipeline root, and reads what they left."""

from __future__ import annotations

import csv
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import ml_metadata
from ml_metadata.proto import metadata_store_pb2
from sklearn import datasets

HERE = Path(__file__).parent
FEATURES = ["alcohol", "malic_acid", "flavanoids", "color_intensity", "hue", "proline"]
LABEL_KEY = "cultivar_xf"
PIPELINE = "wine"
BEAM = ["--runner=apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner"]

Execution = metadata_store_pb2.Execution
Artifact = metadata_store_pb2.Artifact


@dataclass(frozen=True)
class Node:
    """The latest execution of a pipeline's node."""

    execution: Execution
    inputs: dict[str, Artifact]
    outputs: dict[str, Artifact]

    def property(self, name: str) -> str:
        return self.execution.custom_properties[name].string_value


class Winery:
    """One pipeline root, metadata store and push destination for many pipelines of one name.

    One name lets TFX's cache answer for what an earlier pipeline did.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.artifacts = root / "artifacts"
        self.metadata = root / "metadata.db"
        self.data = root / "data"
        self.data.mkdir()
        wine = datasets.load_wine(as_frame=True).frame
        with (self.data / "wine.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*FEATURES, "cultivar"])
            writer.writerows(
                [*(f"{row[name]:.2f}" for name in FEATURES), int(row["target"])] for _, row in wine.iterrows()
            )

    def pushed_to(self, name: str) -> Path:
        """A push destination of its own for each pipeline."""
        return self.root / "pushed" / name

    def pushed(self, name: str) -> list[Path]:
        return sorted(self.pushed_to(name).glob("*"))

    def create(self, pipeline_file: Path, module_file: Path, name: str) -> Any:
        """Builds the pipeline of a file as its author would."""
        spec = importlib.util.spec_from_file_location(f"{name}_pipeline", pipeline_file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.create_pipeline(
            pipeline_name=PIPELINE,
            pipeline_root=str(self.artifacts),
            data_root=str(self.data),
            preprocessing_file=str(HERE / "stock" / "preprocessing" / "wine_preprocessing.py"),
            module_file=str(module_file),
            serving_model_dir=str(self.pushed_to(name)),
            metadata_path=str(self.metadata),
            beam_pipeline_args=BEAM,
        )

    def run(self, *nodes: Any, name: str = PIPELINE) -> None:
        """Builds and runs a pipeline of these nodes. Resolvers see what pipelines of that name made."""
        from tfx.orchestration import metadata, pipeline

        connection = metadata.sqlite_metadata_connection_config(str(self.metadata))
        self.launch(
            pipeline.Pipeline(
                pipeline_name=name,
                pipeline_root=str(self.artifacts),
                metadata_connection_config=connection,
                components=list(nodes),
                enable_cache=False,
                beam_pipeline_args=BEAM,
            )
        )

    def launch(self, pipeline: Any) -> None:
        from tfx.orchestration.local.local_dag_runner import LocalDagRunner

        # TFX reads absl's flags from the command line, where pytest's -v would be taken for absl's --verbosity.
        with mock.patch.object(sys, "argv", sys.argv[:1]):
            LocalDagRunner().run(pipeline)

    def push_destination(self, name: str) -> Any:
        from tfx.proto import pusher_pb2

        filesystem = pusher_pb2.PushDestination.Filesystem(base_directory=str(self.pushed_to(name)))
        return pusher_pb2.PushDestination(filesystem=filesystem)

    def pusher(self, name: str, model: Any, blessing: Any, infra_blessing: Any = None) -> Any:
        from tfx.components import Pusher

        return Pusher(
            model=model,
            model_blessing=blessing,
            infra_blessing=infra_blessing,
            push_destination=self.push_destination(name),
        ).with_id(f"Pusher.{name}")

    def node(self, node_id: str, name: str = PIPELINE) -> Node:
        """What ML Metadata holds of the latest execution of a node in the pipeline of that name."""
        store = self._store()
        context = store.get_context_by_type_and_name("node", f"{name}.{node_id}")
        execution = max(store.get_executions_by_context(context.id), key=lambda execution: execution.id)
        events = store.get_events_by_execution_ids([execution.id])
        artifacts = {
            artifact.id: artifact for artifact in store.get_artifacts_by_id([event.artifact_id for event in events])
        }

        def linked(*types: Any) -> dict[str, Artifact]:
            return {event.path.steps[0].key: artifacts[event.artifact_id] for event in events if event.type in types}

        event = metadata_store_pb2.Event  # what Resolvers give are internal outputs
        return Node(execution, linked(event.INPUT), linked(event.OUTPUT, event.INTERNAL_OUTPUT))

    def live_below(self, directory: Path) -> list[str]:
        """Uris below a directory of all artifacts in state LIVE."""
        return [
            artifact.uri
            for artifact in self._store().get_artifacts()
            if artifact.state == Artifact.LIVE and Path(artifact.uri).is_relative_to(directory)
        ]

    def _store(self) -> ml_metadata.MetadataStore:
        config = metadata_store_pb2.ConnectionConfig()
        config.sqlite.filename_uri = str(self.metadata)
        config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
        return ml_metadata.MetadataStore(config)


def imported(node_id: str, artifact: Artifact | Path, kind: str, **properties: str) -> Any:
    """An Importer: an artifact of an earlier run, or a folder made by hand, at the start of a pipeline.

    A node belongs to one pipeline: each needs Importers of its own.

    Args:
      node_id: the Importer's id is ``import.<node_id>``.
      artifact: where it lies.
      kind: a class of `tfx.types.standard_artifacts`.
      properties: its properties.
    """
    from tfx.dsl.components.common.importer import Importer
    from tfx.types import standard_artifacts

    uri = str(artifact) if isinstance(artifact, Path) else artifact.uri
    node = Importer(source_uri=uri, artifact_type=getattr(standard_artifacts, kind), properties=properties or None)
    return node.with_id(f"import.{node_id}")


def transformed(nodes: dict[str, Node]) -> dict[str, Any]:
    """Importers of Transform's examples and graph, by the name of the components' argument."""
    outputs = nodes["Transform"].outputs
    return {
        "examples": imported("examples", outputs["transformed_examples"], "Examples", split_names='["train", "eval"]'),
        "transform_graph": imported("graph", outputs["transform_graph"], "TransformGraph"),
    }


def channels(importers: dict[str, Any]) -> dict[str, Any]:
    """What the importers give, by the name of the components' argument."""
    return {name: node.outputs["result"] for name, node in importers.items()}
