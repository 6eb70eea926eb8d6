"""Turns the spec that TFX compiles into one that runs.

What TFX's compiler leaves open: names that Argo refuses, defaults of RuntimeParameters, the producer and the type of a
value that is passed as a parameter (TFX appends ``_task`` to the name, and says string), importers as Kubeflow's local
runner knows them, hooks that open-source Kubeflow Pipelines does not run, what must not come from the cache, and which
node a container is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tfx.components import FileBasedExampleGen
from tfx.orchestration.data_types import RuntimeParameter

from tfx_edge.errors import ConfigError
from tfx_edge.kubeflow import names, verdicts
from tfx_edge.kubeflow import spec as parts

_PARAMETER_SUFFIX = "_task"
_INPUTS_SPEC = "--json_serialized_inputs_spec_args"
_HOST = "Kubeflow: not known before it runs"


def mend(spec: dict[str, Any], nodes: list[Any], target: str) -> dict[str, Any]:
    """Returns the mended spec.

    Args:
      spec: a PipelineSpec as JSON, of TFX's compiler.
      nodes: what it was compiled of.
      target: ``kfp`` or ``vertex``.
    """
    _tell_node_ids(spec, nodes)
    if target == "kfp":
        _drop_hooks(spec, nodes)
    _never_cache_gates(spec)
    spec = _rename(spec)
    _name_importers_ends(spec)
    _set_types(spec)
    _set_defaults(spec, nodes)
    return spec


def parameters(nodes: Iterable[Any]) -> dict[str, RuntimeParameter]:
    """The RuntimeParameters of a pipeline by name.

    Raises:
      ConfigError: two of one name have different defaults.
    """
    found: dict[str, RuntimeParameter] = {}
    for node in nodes:
        for value in node.exec_properties.values():
            if not isinstance(value, RuntimeParameter):
                continue
            known = found.setdefault(value.name, value)
            if (known.default, known.ptype) != (value.default, value.ptype):
                raise ConfigError(
                    f"the RuntimeParameter {value.name!r} is defined twice: as {known.ptype} with default "
                    f"{known.default!r} and as {value.ptype} with default {value.default!r}; use one object for both"
                )
    return found


def _tell_node_ids(spec: dict[str, Any], nodes: list[Any]) -> None:
    for node in nodes:
        if node.id in parts.tasks(spec) and parts.runs_tfx(spec, node.id):
            parts.container(spec, node.id)["args"] += ["--node_id", node.id]


def _drop_hooks(spec: dict[str, Any], nodes: list[Any]) -> None:
    """Without its driver an ExampleGen would not notice new files, and the cache would answer for ever."""
    for node in nodes:
        if isinstance(node, FileBasedExampleGen):
            parts.container(spec, node.id).pop("lifecycle", None)
            parts.tasks(spec)[node.id].pop("cachingOptions", None)


def _never_cache_gates(spec: dict[str, Any]) -> None:
    """A verdict holds for the machine that it was measured on, and which machine that is a cluster decides anew."""
    for name, task in parts.tasks(spec).items():
        if verdicts.is_gate(spec, name):
            task.pop("cachingOptions", None)
            task["inputs"]["parameters"]["host"] = {"runtimeValue": {"constant": _HOST}}


def _rename(spec: dict[str, Any]) -> dict[str, Any]:
    tasks = parts.tasks(spec)
    renamed = {node_id: names.task_name(node_id) for node_id in tasks}
    for task in tasks.values():
        for source in task.get("inputs", {}).get("artifacts", {}).values():
            output = source["taskOutputArtifact"]
            output["producerTask"] = renamed[output["producerTask"]]
        for source in task.get("inputs", {}).get("parameters", {}).values():
            if output := source.get("taskOutputParameter"):
                output["producerTask"] = renamed[output["producerTask"].removesuffix(_PARAMETER_SUFFIX)]
        if "dependentTasks" in task:
            task["dependentTasks"] = sorted(renamed[other] for other in task["dependentTasks"])

    executors = spec["deploymentSpec"]["executors"]
    new_tasks, new_components, new_executors = {}, {}, {}
    for node_id, task in tasks.items():
        name = renamed[node_id]
        component = parts.component(spec, node_id)
        reference = {"name": parts.component_name(name)}
        new_tasks[name] = {**task, "taskInfo": {**task["taskInfo"], "name": name}, "componentRef": reference}
        new_components[reference["name"]] = {**component, "executorLabel": parts.executor_name(name)}
        new_executors[parts.executor_name(name)] = executors[component["executorLabel"]]
    return {
        **spec,
        "components": new_components,
        "deploymentSpec": {**spec["deploymentSpec"], "executors": new_executors},
        "root": {**spec["root"], "dag": {**spec["root"]["dag"], "tasks": new_tasks}},
    }


def _name_importers_ends(spec: dict[str, Any]) -> None:
    """By the names that KFP's own compiler gives them, and its local runner takes for granted."""
    importers = set()
    for name, task in parts.tasks(spec).items():
        component = parts.component(spec, name)
        importer = parts.executor(spec, name).get("importer")
        if not importer:
            continue
        for parameters in (task["inputs"]["parameters"], component["inputDefinitions"]["parameters"]):
            parameters["uri"] = parameters.pop("artifact_uri")
        if "runtimeParameter" in importer["artifactUri"]:
            importer["artifactUri"]["runtimeParameter"] = "uri"
        (artifact,) = component["outputDefinitions"]["artifacts"].values()
        component["outputDefinitions"]["artifacts"] = {"artifact": artifact}
        importers.add(name)
    for task in parts.tasks(spec).values():
        for source in task.get("inputs", {}).get("artifacts", {}).values():
            if source["taskOutputArtifact"]["producerTask"] in importers:
                source["taskOutputArtifact"]["outputArtifactKey"] = "artifact"


def _set_types(spec: dict[str, Any]) -> None:
    """A value from upstream has the type that upstream gives it; TFX calls each of them a string."""
    for name, task in parts.tasks(spec).items():
        inputs = parts.component(spec, name).get("inputDefinitions", {})
        passed = {
            key: source["taskOutputParameter"]
            for key, source in task.get("inputs", {}).get("parameters", {}).items()
            if "taskOutputParameter" in source
        }
        if not passed:
            continue
        for key, source in passed.items():
            outputs = parts.component(spec, source["producerTask"])["outputDefinitions"]["parameters"]
            inputs["parameters"][key]["parameterType"] = outputs[source["outputParameterKey"]]["parameterType"]
        arguments = parts.container(spec, name)["args"]
        arguments[arguments.index(_INPUTS_SPEC) + 1] = json.dumps(inputs, sort_keys=True)


def _set_defaults(spec: dict[str, Any], nodes: list[Any]) -> None:
    defined = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, parameter in parameters(nodes).items():
        if name not in defined:
            continue
        if parameter.description:
            defined[name]["description"] = parameter.description
        if parameter.default is not None:
            defined[name] |= {"defaultValue": parameter.default, "isOptional": True}
