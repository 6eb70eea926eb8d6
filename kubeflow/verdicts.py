"""Makes a gate's verdict something that Kubeflow's API tells: as parameters of the gate, and as a task's state.

The API answers neither artifacts nor parameters of a run's tasks (their ``outputs`` stay empty up to KFP 2.17), but
each task's state. So every EdgeEvaluator gets two output parameters, ``verdict`` and ``reason``, which the user
interface shows, and a marker behind it: a task named ``<gate>-blessed`` that runs only if the verdict is "blessed" and
is skipped otherwise. A run in which a gate withholds its blessing has not failed; it has a skipped marker.
"""

from __future__ import annotations

from typing import Any

from tfx_edge.errors import ConfigError
from tfx_edge.kubeflow import spec as parts

BLESSED = "blessed"
NOT_BLESSED = "not blessed"
_SUFFIX = "-blessed"
_REASON_LENGTH = 1000
_GATE = "edge_evaluator"


def value(name: str, outputs: dict[str, list[Any]]) -> str:
    """The output parameter of a gate that has written its blessing.

    Args:
      name: ``verdict`` or ``reason``.
      outputs: the artifacts that the gate wrote.

    Raises:
      ValueError: the parameter is neither an output artifact nor one of these.
    """
    if name not in ("verdict", "reason") or "blessing" not in outputs:
        raise ValueError(f"output parameter {name!r} has no value: the executor has no output artifact of that name")
    blessing = outputs["blessing"][0]
    if name == "reason":
        return blessing.get_string_custom_property("reason")[:_REASON_LENGTH]
    return BLESSED if blessing.get_int_custom_property("blessed") == 1 else NOT_BLESSED


def add_markers(spec: dict[str, Any]) -> None:
    """Gives every gate of a pipeline spec its parameters and its marker. Names must be final."""
    tasks = parts.tasks(spec)
    for gate in [name for name in tasks if is_gate(spec, name)]:
        parts.component(spec, gate)["outputDefinitions"]["parameters"] = {
            key: {"parameterType": "STRING"} for key in ("verdict", "reason")
        }
        marker = gate + _SUFFIX
        # The name that KFP's compiler gives such a parameter, by which its local runner finds the value.
        channel = f"pipelinechannel--{gate}--verdict"
        spec["deploymentSpec"]["executors"][parts.executor_name(marker)] = {
            "container": {
                "image": parts.container(spec, gate)["image"],
                "command": ["echo", f"{gate}: {BLESSED}"],
            }
        }
        spec["components"][parts.component_name(marker)] = {
            "executorLabel": parts.executor_name(marker),
            "inputDefinitions": {"parameters": {channel: {"parameterType": "STRING"}}},
        }
        tasks[marker] = {
            "taskInfo": {"name": marker},
            "componentRef": {"name": parts.component_name(marker)},
            "dependentTasks": [gate],
            "inputs": {
                "parameters": {
                    channel: {"taskOutputParameter": {"producerTask": gate, "outputParameterKey": "verdict"}}
                }
            },
            "triggerPolicy": {"condition": f"inputs.parameter_values['{channel}'] == '{BLESSED}'"},
        }


def gates(spec: dict[str, Any]) -> dict[str, str]:
    """The marker of each gate of a pipeline spec, by the gate's task name."""
    tasks = parts.tasks(spec)
    return {name: name + _SUFFIX for name in tasks if name + _SUFFIX in tasks and is_gate(spec, name)}


def deciding_gates(spec: dict[str, Any], wanted: list[str] | None = None) -> list[str]:
    """The gates that decide whether a run was a success.

    Args:
      spec: the pipeline's spec.
      wanted: their names; None takes those whose blessing another task takes, such as Pusher, or all gates where no
        blessing is taken.

    Raises:
      ConfigError: the pipeline has no gate of a wanted name, or a gate whose verdict nothing would tell.
    """
    if unmarked := _unmarked(spec):
        raise ConfigError(
            f"the verdict of {', '.join(unmarked)} could not be known, since no marker stands behind it; compile the "
            "pipeline with 'tfx-edge kubeflow compile', and do not put it into another pipeline"
        )
    known = gates(spec)
    unknown = sorted(set(wanted or ()) - set(known))
    if unknown:
        raise ConfigError(f"--gate {unknown[0]}: the pipeline's gates are {', '.join(sorted(known)) or 'none'}")
    if wanted:
        return wanted
    taken = {
        source["taskOutputArtifact"]["producerTask"]
        for task in parts.tasks(spec).values()
        for source in task.get("inputs", {}).get("artifacts", {}).values()
        if source.get("taskOutputArtifact", {}).get("outputArtifactKey") in ("blessing", "infra_blessing")
    }
    return sorted(taken & set(known)) or sorted(known)


def is_gate(spec: dict[str, Any], task: str) -> bool:
    """Whether a task of a pipeline spec is an EdgeEvaluator."""
    return parts.component_package(spec, task) == _GATE


def _unmarked(spec: dict[str, Any]) -> list[str]:
    """The executors of gates without a marker, wherever in a pipeline they run."""
    marked = {parts.component(spec, gate)["executorLabel"] for gate in gates(spec)}
    return sorted(
        label
        for label, executor in spec["deploymentSpec"]["executors"].items()
        if label not in marked and parts.package_of(executor.get("container", {})) == _GATE
    )
