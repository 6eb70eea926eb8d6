"""What a task's container runs on Kubeflow Pipelines and Vertex AI: ``python -m tfx_edge.kubeflow.entrypoint``.

It takes the place of TFX's ``kubeflow_v2_run_executor`` and is called in the same way. What it does beyond that:

- artifacts are handed to executors as the folders that the launcher mounts, so any object store works, and are
  reported back by their uris;
- the types of input artifacts come from the component's definition, since the launcher may know only
  ``system.Artifact``;
- values that an upstream component wrote are read before the executor asks for them;
- the folders that outputs go into are there, which Kubeflow's local runner does not see to;
- the launcher's own output, ``executor-logs``, is kept from the executor;
- an executor knows the id of its node, as it does under TFX's own orchestrators;
- output parameters without an artifact are a gate's verdict: see `tfx_edge.kubeflow.verdicts`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.dsl.components.base import base_beam_executor, base_executor
from tfx.dsl.io import fileio
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as tfx_utils
from tfx.orchestration.portable import outputs_utils
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import value_artifact
from tfx.utils import import_utils

from tfx_edge.gate.beam_engine import Engine
from tfx_edge.kubeflow import mounts, verdicts
from tfx_edge.models import layout
from tfx_edge.stages.executor import ModelExecutor

_LAUNCHER_OUTPUTS = ("executor-logs",)
_EVALUATOR = "tfx.components.evaluator.executor"

Artifacts = dict[str, list[Any]]


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one task."""
    arguments, beam_arguments = _parser().parse_known_args(argv)
    spec = json_format.Parse(
        arguments.json_serialized_inputs_spec_args or "{}",
        pipeline_spec_pb2.ComponentInputsSpec(),
        ignore_unknown_fields=True,
    )
    # Workers on other machines see no mounts; where components take no uris, the compiler refuses such workers.
    mounted = not Engine.parse(beam_arguments).workers_elsewhere
    task = _read_task(arguments.json_serialized_invocation_args, spec, mounted)
    names: dict[int, str] = {}
    inputs = tfx_utils.parse_raw_artifact_dict(task.inputs.artifacts, names)
    outputs = tfx_utils.parse_raw_artifact_dict(task.outputs.artifacts, names)
    for artifact in _each(inputs):
        if isinstance(artifact, value_artifact.ValueArtifact):
            artifact.read()
    for artifact in _each(outputs):
        fileio.makedirs(os.path.dirname(artifact.uri))
    properties = tfx_utils.parse_execution_properties(task.inputs.parameter_values, task.inputs.parameters, spec)

    executor_class = import_utils.import_class_by_path(arguments.executor_class_path)
    executor = executor_class(_context(executor_class, task.outputs.output_file, beam_arguments, arguments.node_id))
    executor.Do(inputs, outputs, properties)
    if isinstance(executor, ModelExecutor):
        _name_uris(outputs["edge_model"][0].uri)

    outputs_utils.tag_output_artifacts_with_version(outputs)
    if any(base.__module__ == _EVALUATOR for base in executor_class.__mro__) and "blessing" in outputs:
        tfx_utils.refactor_model_blessing(outputs["blessing"][0], names)
    _write_result(task, outputs, names)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args")
    parser.add_argument("--node_id", default="")
    return parser


def _read_task(text: str, spec: Any, mounted: bool) -> Any:
    """The launcher's ExecutorInput, with the types that the component declares and, if mounted, folders for uris."""
    document = json.loads(text)
    for artifact in _artifacts_of(document.get("inputs", {})) + _artifacts_of(document.get("outputs", {})):
        path, uri = artifact.pop("customPath", ""), artifact.get("uri", "")
        artifact["uri"] = (path or mounts.to_path(uri)) if mounted else uri
    task = json_format.ParseDict(document, pipeline_spec_pb2.ExecutorInput(), ignore_unknown_fields=True)
    for name, found in task.inputs.artifacts.items():
        if name in spec.artifacts:
            for artifact in found.artifacts:
                artifact.type.CopyFrom(spec.artifacts[name].artifact_type)
    for name in _LAUNCHER_OUTPUTS:
        task.outputs.artifacts.pop(name, None)
    return task


def _artifacts_of(side: dict[str, Any]) -> list[dict[str, Any]]:
    return [artifact for found in side.get("artifacts", {}).values() for artifact in found.get("artifacts", [])]


def _each(artifacts: Artifacts) -> Iterable[Any]:
    return (artifact for found in artifacts.values() for artifact in found)


def _context(executor_class: Any, output_file: str, beam_arguments: list[Any], node_id: str) -> Any:
    root = os.path.dirname(output_file)
    node = pipeline_pb2.PipelineNode(node_info=pipeline_pb2.NodeInfo(id=node_id)) if node_id else None
    common: dict[str, Any] = {
        "unique_id": os.path.basename(root),
        "tmp_dir": os.path.join(root, ".temp"),
        "pipeline_node": node,
    }
    if issubclass(executor_class, base_beam_executor.BaseBeamExecutor):
        return base_beam_executor.BaseBeamExecutor.Context(beam_pipeline_args=beam_arguments, **common)
    return base_executor.BaseExecutor.Context(extra_flags=beam_arguments, **common)


def _name_uris(model: str) -> None:
    """What is kept beside a model tells where its parents are, and not where these were mounted."""
    for file in (layout.edge_json(model), layout.steps_json(model)):
        if file.is_file():
            part = file.with_suffix(".part")
            part.write_text(json.dumps(_with_uris(json.loads(file.read_text())), indent=2, sort_keys=True))
            part.replace(file)


def _with_uris(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_uris(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_uris(each) for each in value]
    return mounts.to_uri(value) if isinstance(value, str) else value


def _write_result(task: Any, outputs: Artifacts, names: dict[int, str]) -> None:
    result = pipeline_spec_pb2.ExecutorOutput()
    for name, artifacts in tfx_utils.translate_executor_output(outputs, names).items():
        for artifact in artifacts.artifacts:
            artifact.uri = mounts.to_uri(artifact.uri)
            for value in artifact.metadata.fields.values():
                if value.WhichOneof("kind") == "string_value":
                    value.string_value = mounts.to_uri(value.string_value)
        result.artifacts[name].CopyFrom(artifacts)
    for name in task.outputs.parameters:
        value = outputs[name][0].read() if name in outputs else verdicts.value(name, outputs)
        json_format.ParseDict(value, result.parameter_values[name])
    fileio.makedirs(os.path.dirname(task.outputs.output_file))
    with fileio.open(task.outputs.output_file, "w") as file:
        file.write(json_format.MessageToJson(result))


if __name__ == "__main__":
    # By force, since something that TFX imports has set up logging for warnings alone.
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(name)s: %(message)s", force=True)
    main()
