"""Fills a store as Kubeflow Pipelines' driver and launcher do, without them.

Each method does what the function of the same name in kubeflow/pipelines does: ``backend/src/v2/metadata/client.go``,
``converter.go`` beside it for values, and ``driver/container.go`` and ``component/launcher_v2.go`` for the order of
calls. What executors report is given as they write it: artifacts with a dict of metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_metadata
from ml_metadata.proto import metadata_store_pb2 as pb

CONTAINER = "system.ContainerExecution"


class Driver:
    """One run of a pipeline."""

    def __init__(self, path: Path, pipeline: str = "digits", run: str = "3f0c7a52-run") -> None:
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = str(path)
        config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self.config = config
        self.store = ml_metadata.MetadataStore(config)
        root = f"s3://bucket/{pipeline}/{run}"
        self.contexts = [
            self._context("system.Pipeline", pipeline, {}),
            self._context("system.PipelineRun", run, {"namespace": "kubeflow", "resource_name": "run-resource",
                                                      "pipeline_root": root, "store_session_info": "{}"}),
        ]  # fmt: skip
        child, parent = self.contexts[1].id, self.contexts[0].id
        if not self.store.get_parent_contexts_by_context(child):
            self.store.put_parent_contexts([pb.ParentContext(child_id=child, parent_id=parent)])
        self.root = root
        self.dag = self.create_execution("system.DAGExecution", "", {}, {})

    def task(
        self,
        name: str,
        inputs: Mapping[str, int],
        outputs: Mapping[str, tuple[str, Mapping[str, Any]]],
        parameters: Mapping[str, Any] | None = None,
        state: Any = pb.Execution.COMPLETE,
    ) -> dict[str, int]:
        """Driver, executor and launcher of one task; the ids of its outputs.

        Args:
          name: the task's.
          inputs: artifact ids by input name.
          outputs: schema title and metadata by output name.
          parameters: of the component.
          state: at the end.
        """
        execution = self.create_execution(CONTAINER, name, inputs, parameters or {})
        made = {}
        if state == pb.Execution.COMPLETE:
            for key, (title, metadata) in outputs.items():
                made[key] = self.record_artifact(key, title, f"{self.root}/{name}/{key}", metadata)
        self.publish_execution(execution, made, state)
        return made

    def cached_task(self, name: str, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        """What the driver writes when it takes the outputs of an earlier execution."""
        execution = self.create_execution(CONTAINER, name, inputs, {})
        execution.custom_properties["cached_execution_id"].string_value = "1"
        self.publish_execution(execution, outputs, pb.Execution.CACHED)

    def create_execution(
        self, kind: str, name: str, inputs: Mapping[str, int], parameters: Mapping[str, Any]
    ) -> pb.Execution:
        type_id = self.store.put_execution_type(pb.ExecutionType(name=kind))
        execution = pb.Execution(type_id=type_id, last_known_state=pb.Execution.RUNNING)
        texts = {"display_name": name, "task_name": name}
        if kind == CONTAINER:
            texts |= {"pod_name": "", "pod_uid": "", "namespace": "kubeflow", "image": "registry/digits:1",
                      "cache_fingerprint": "ab" * 32}  # fmt: skip
            execution.custom_properties["parent_dag_id"].int_value = self.dag.id
        for key, text in texts.items():
            execution.custom_properties[key].string_value = text
        execution.custom_properties["inputs"].struct_value.SetInParent()  # a value without a kind aborts the process
        execution.custom_properties["inputs"].struct_value.update(dict(parameters))
        pairs = [(None, self._event(key, id_, pb.Event.INPUT)) for key, id_ in inputs.items()]
        execution_id, _, _ = self.store.put_execution(execution, pairs, self.contexts)
        return self.store.get_executions_by_id([execution_id])[0]

    def publish_execution(self, execution: pb.Execution, outputs: Mapping[str, int], state: Any) -> None:
        execution.last_known_state = state
        pairs = [(None, self._event(key, id_, pb.Event.OUTPUT)) for key, id_ in outputs.items()]
        self.store.put_execution(execution, pairs, self.contexts)

    def record_artifact(self, output_name: str, title: str, uri: str, metadata: Mapping[str, Any]) -> int:
        type_id = self.store.put_artifact_type(pb.ArtifactType(name=title))
        artifact = pb.Artifact(type_id=type_id, uri=uri, state=pb.Artifact.LIVE)
        for key, value in {"display_name": output_name, "store_session_info": "{}", **metadata}.items():
            if isinstance(value, bool):
                artifact.custom_properties[key].int_value = int(value)
            elif isinstance(value, str):
                artifact.custom_properties[key].string_value = value
            else:  # metadata is JSON, where each number is a double
                artifact.custom_properties[key].double_value = float(value)
        return self.store.put_artifacts([artifact])[0]

    def _context(self, kind: str, name: str, properties: Mapping[str, str]) -> pb.Context:
        known = self.store.get_context_by_type_and_name(kind, name)
        if known is None:
            context = pb.Context(name=name, type_id=self.store.put_context_type(pb.ContextType(name=kind)))
            for key, text in properties.items():
                context.custom_properties[key].string_value = text
            self.store.put_contexts([context])
            known = self.store.get_context_by_type_and_name(kind, name)
        return known

    def _event(self, key: str, artifact_id: int, kind: Any) -> pb.Event:
        path = pb.Event.Path(steps=[pb.Event.Path.Step(key=key)])
        return pb.Event(artifact_id=artifact_id, type=kind, path=path)
