"""What TFX and Kubeflow Pipelines call the same things in ML Metadata.

On Kubeflow the driver and the launcher write the store (``backend/src/v2/metadata/client.go``): every task is a
``system.ContainerExecution`` with its name, and its parameters in one struct; artifact types are schema titles, such as
``tfx.Model``; all that an executor says of an artifact is a custom property, a number always a double, and behind
``custom:`` where a property of TFX has the same name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tfx_edge.lineage.connection import pb
from tfx_edge.lineage.reads import Artifact, Execution

_KUBEFLOW = "system."
_CONTEXTS = {"system.Pipeline": "pipeline", "system.PipelineRun": "pipeline_run"}
_NO_FIGURES = {"blessed", "is_external"}


@dataclass(frozen=True)
class Names:
    """What an execution belongs to; empty where it was not recorded. ``node`` is its id in the pipeline."""

    pipeline: str
    run: str
    node: str


def names(execution: Execution, contexts: Iterable[Any]) -> Names:
    """The pipeline, the run and the node of an execution."""
    found = {_CONTEXTS.get(context.type, context.type): context.name for context in contexts}
    pipeline = found.get("pipeline", "")
    node = found.get("node") or value(execution, "task_name") or kind(execution)
    return Names(pipeline, found.get("pipeline_run", ""), node.removeprefix(f"{pipeline}."))


def kind(item: Artifact | Execution) -> str:
    """The type's name without what stands before the last dot."""
    return str(item.type.rpartition(".")[2])


def recipe(execution: Execution) -> dict[str, Any] | None:
    """The configuration of one of tfx-edge's components; others may have a ``config`` that is no JSON object."""
    text = value(execution, "config")
    if text is None and _is_kubeflow(execution) and "inputs" in execution.custom_properties:
        text = execution.custom_properties["inputs"].struct_value.fields["config"].string_value
    try:
        parsed = json.loads(text or "null")
    except (TypeError, ValueError):
        return None
    return parsed if isinstance(parsed, dict) else None


def is_evaluator(execution: Execution, outputs: Iterable[Artifact]) -> bool:
    """Whether an execution is an EdgeEvaluator's. Kubeflow does not tell whose it is, but what came out."""
    if _is_kubeflow(execution):
        return any(kind(artifact) == "EdgeReport" for artifact in outputs)
    return kind(execution).endswith("EdgeEvaluator")


def judged(blessing: Artifact, model: Artifact) -> bool:
    """Whether a blessing is a model's. The ids that executors see on Kubeflow are not the store's."""
    key, own = ("current_model", model.uri) if blessing.type != kind(blessing) else ("current_model_id", model.id)
    return bool(value(blessing, key) == own)


def value(item: Artifact | Execution, name: str, default: Any = None) -> Any:
    """A property of an artifact or an execution, custom ones first."""
    for properties, key in (
        (item.custom_properties, name),
        (item.properties, name),
        (item.custom_properties, f"custom:{name}"),
    ):
        if key in properties:
            field = properties[key].WhichOneof("value")
            return getattr(properties[key], field) if field else default
    return default


def figures(report: Artifact) -> dict[str, float]:
    """The figures on an EdgeReport artifact, by metric name."""
    return {
        name: figure.double_value
        for name, figure in sorted(report.custom_properties.items())
        if figure.HasField("double_value") and name not in _NO_FIGURES
    }


def is_complete(execution: Execution) -> bool:
    """Whether an execution ran to its end; others failed, or took their outputs from the cache."""
    return bool(execution.last_known_state == pb.Execution.COMPLETE)


def _is_kubeflow(execution: Execution) -> bool:
    return bool(execution.type.startswith(_KUBEFLOW))
