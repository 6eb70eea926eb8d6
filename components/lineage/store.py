"""The questions that a lineage asks of ML Metadata.

Only ``ml_metadata`` is used, neither TFX nor TensorFlow, and only reads that every version of the store answers: events
by artifact and by execution (some versions have no filter queries and no lineage subgraphs).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeAlias

import ml_metadata
from ml_metadata.proto import metadata_store_pb2

from tfx_edge.lineage.record import ArtifactRef, ExamplesSource, Push, Step, Verdict

pb: Any = metadata_store_pb2  # its classes are made while it is imported, so type checkers don't see them
Artifact: TypeAlias = Any
Execution: TypeAlias = Any
Event: TypeAlias = Any

_INPUTS = (pb.Event.INPUT, pb.Event.DECLARED_INPUT)
_OUTPUTS = (pb.Event.OUTPUT, pb.Event.DECLARED_OUTPUT)


class Store:
    """A store, opened for reading; ``client`` is the API of ``ml_metadata``."""

    def __init__(self, path: Path) -> None:
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = str(path)
        config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READONLY
        self.client = ml_metadata.MetadataStore(config)

    def ancestry(self, model_id: int) -> tuple[tuple[Step, ...], tuple[ExamplesSource, ...]]:
        """The executions that led to an artifact, newest first, and the examples that they began with."""
        steps: dict[int, Step] = {}
        sources: dict[int, Artifact] = {}
        seen = {model_id}
        frontier = list(self.client.get_artifacts_by_id([model_id]))
        while frontier:
            artifact = frontier.pop()
            producer = self._producer(artifact.id)
            inputs = self._artifacts(producer.id, _INPUTS) if producer else []
            if producer:
                steps.setdefault(producer.id, self._step(producer))
            if artifact.type == "Examples" and not any(each.type == "Examples" for each in inputs):
                sources[artifact.id] = artifact
            frontier += [each for each in inputs if each.id not in seen]
            seen.update(each.id for each in inputs)
        newest_first = sorted(steps.values(), key=lambda step: (step.started, step.execution_id), reverse=True)
        return tuple(newest_first), tuple(_examples(sources[key]) for key in sorted(sources))

    def verdicts(self, model_id: int) -> list[Verdict]:
        """What every EdgeEvaluator found, newest first."""
        found = []
        judges = self._consumers(model_id, "EdgeEvaluator")
        # An execution that was given one model as both has a single event, which may be the baseline's.
        others = self._consumers(model_id, "EdgeEvaluator", key="baseline_model")
        for execution in sorted((*judges, *others), key=lambda each: each.id, reverse=True):
            outputs = self._artifacts(execution.id, _OUTPUTS)
            blessing = next((each for each in outputs if each.type == "ModelBlessing"), None)
            if blessing and (execution in judges or value(blessing, "current_model_id") == model_id):
                reports = [each for each in outputs if each.type.endswith("EdgeReport")]
                found_figures = {name: figure for report in reports for name, figure in figures(report).items()}
                blessed, reason = bool(value(blessing, "blessed", 0)), value(blessing, "reason", "")
                found.append(Verdict(blessed, reason, found_figures, self._step(execution)))
        return found

    def pushes(self, model_id: int) -> list[Push]:
        """The pushes that took place, newest first."""
        return [
            Push(
                value(artifact, "pushed_destination", artifact.uri),
                str(value(artifact, "pushed_version", "")),
                self._step(execution),
            )
            for execution in self._consumers(model_id, "Pusher")
            for artifact in self._artifacts(execution.id, _OUTPUTS)
            if artifact.type == "PushedModel" and value(artifact, "pushed", 0)
        ]

    def newest_output(self, node_id: str, artifact_type: str) -> dict[str, Any]:
        """``uri`` and custom properties of an artifact that a node's newest execution put out; empty without one.

        Args:
          node_id: the component's id.
          artifact_type: the artifact's type name.
        """
        contexts = [each for each in self.client.get_contexts_by_type("node") if each.name.endswith(f".{node_id}")]
        executions = [each for context in contexts for each in self.client.get_executions_by_context(context.id)]
        if not executions:
            return {}
        outputs = self._artifacts(max(executions, key=lambda each: each.id).id, _OUTPUTS)
        found = next((each for each in outputs if each.type == artifact_type), None)
        return {name: value(found, name) for name in found.custom_properties} | {"uri": found.uri} if found else {}

    def _producer(self, artifact_id: int) -> Execution | None:
        """The execution that made an artifact: later ones only took it from the cache."""
        events = self.client.get_events_by_artifact_ids([artifact_id])
        makers = self._complete(event for event in events if event.type in _OUTPUTS)
        return makers[-1] if makers else None

    def _consumers(self, artifact_id: int, kind: str, key: str = "model") -> list[Execution]:
        events = self.client.get_events_by_artifact_ids([artifact_id])
        readers = self._complete(each for each in events if each.type in _INPUTS and _key(each) == key)
        return [execution for execution in readers if execution.type.endswith(kind)]

    def _complete(self, events: Iterable[Event]) -> list[Execution]:
        """The executions of events that ran to their end, newest first."""
        ids = {event.execution_id for event in events}
        executions = self.client.get_executions_by_id(ids) if ids else []
        complete = [each for each in executions if each.last_known_state == pb.Execution.COMPLETE]
        return sorted(complete, key=lambda each: (each.create_time_since_epoch, each.id), reverse=True)

    def _artifacts(self, execution_id: int, kinds: Collection[int]) -> list[Artifact]:
        events = self.client.get_events_by_execution_ids([execution_id])
        ids = sorted({event.artifact_id for event in events if event.type in kinds})
        return list(self.client.get_artifacts_by_id(ids)) if ids else []

    def _step(self, execution: Execution) -> Step:
        names = {context.type: context.name for context in self.client.get_contexts_by_execution(execution.id)}
        node = names.get("node", execution.type.rpartition(".")[2])
        state = pb.Execution.State.Name(execution.last_known_state)
        return Step(
            component=node.removeprefix(f"{names.get('pipeline', '')}."),
            type=execution.type,
            execution_id=execution.id,
            state=state,
            started=time_text(execution.create_time_since_epoch),
            finished=time_text(execution.last_update_time_since_epoch) if state == "COMPLETE" else None,
            recipe=_recipe(value(execution, "config")),
            inputs=tuple(map(reference, self._artifacts(execution.id, _INPUTS))),
            outputs=tuple(map(reference, self._artifacts(execution.id, _OUTPUTS))),
        )


def _key(event: Event) -> str:
    return event.path.steps[0].key if event.path.steps else ""


def value(item: Artifact | Execution, name: str, default: Any = None) -> Any:
    """A property of an artifact or an execution, custom ones first."""
    for properties in (item.custom_properties, item.properties):
        if name in properties:
            kind = properties[name].WhichOneof("value")
            return getattr(properties[name], kind) if kind else default
    return default


def figures(report: Artifact) -> dict[str, float]:
    """The figures on an EdgeReport artifact, by metric name."""
    return {
        name: figure.double_value
        for name, figure in sorted(report.custom_properties.items())
        if figure.HasField("double_value") and name not in {"blessed", "is_external"}
    }


def reference(artifact: Artifact) -> ArtifactRef:
    """What a lineage keeps of an artifact."""
    return ArtifactRef(artifact.type, artifact.uri, artifact.id, value(artifact, "sha256"))


def _examples(artifact: Artifact) -> ExamplesSource:
    span, version = value(artifact, "span"), value(artifact, "version")
    return ExamplesSource(
        uri=artifact.uri,
        span=None if span is None else int(span),
        version=None if version is None else int(version),
        split_names=tuple(json.loads(value(artifact, "split_names") or "[]")),
        input_fingerprint=value(artifact, "input_fingerprint"),
    )


def _recipe(text: str | None) -> dict[str, Any] | None:
    """Other components may have a ``config`` that is no JSON object."""
    try:
        recipe = json.loads(text or "null")
    except (TypeError, ValueError):
        return None
    return recipe if isinstance(recipe, dict) else None


def time_text(milliseconds: int) -> str:
    """A time of the store, which counts from 1970, as ISO 8601 in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).isoformat(timespec="milliseconds")
