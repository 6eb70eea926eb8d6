"""The questions that a lineage asks of ML Metadata. Only ``ml_metadata`` is used, neither TFX nor TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from datetime import datetime, timezone
from typing import Any

from tfx_edge.lineage import words
from tfx_edge.lineage.connection import Place, pb
from tfx_edge.lineage.opening import open_store
from tfx_edge.lineage.reads import INPUTS, OUTPUTS, Artifact, Event, Execution, Reads
from tfx_edge.lineage.record import ArtifactRef, ExamplesSource, Push, Step, Verdict
from tfx_edge.lineage.words import kind, value


class Store:
    """A store, opened for reading.

    Args:
      place: a SQLite file, or a server's URL.

    Raises:
      ConfigError: there is no store that can be read.
    """

    def __init__(self, place: Place) -> None:
        self.reads = Reads(open_store(place))

    def artifacts_of_kind(self, name: str) -> list[Artifact]:
        """Every artifact of a type, by the type's name without what stands before its last dot."""
        client = self.reads.client
        types = [each.name for each in client.get_artifact_types() if each.name.rpartition(".")[2] == name]
        return [artifact for each in types for artifact in client.get_artifacts_by_type(each)]

    def ancestry(self, model: Artifact) -> tuple[tuple[Step, ...], tuple[ExamplesSource, ...]]:
        """The executions that led to an artifact, newest first, and the examples that they began with."""
        steps: dict[int, Execution] = {}
        sources: dict[int, Artifact] = {}
        seen = {model.id}
        frontier = [model]
        while frontier:
            producers = self._producers([artifact.id for artifact in frontier])
            self.reads.load_artifacts_of(execution.id for execution in producers.values())
            following: dict[int, Artifact] = {}
            for artifact in frontier:
                producer = producers.get(artifact.id)
                inputs = self.reads.artifacts_of(producer.id, INPUTS) if producer else []
                if producer:
                    steps[producer.id] = producer
                if kind(artifact) == "Examples" and not any(kind(each) == "Examples" for each in inputs):
                    sources[artifact.id] = artifact
                following |= {each.id: each for each in inputs if each.id not in seen}
            seen |= set(following)
            frontier = list(following.values())
        newest_first = sorted(map(self._step, steps.values()), key=lambda step: (step.started, step.execution_id))
        return tuple(newest_first[::-1]), tuple(_examples(sources[key]) for key in sorted(sources))

    def verdicts(self, model: Artifact) -> list[Verdict]:
        """What every EdgeEvaluator found, newest first."""
        found = []
        judges = {each.id for each in self._consumers(model.id, "model")}
        # An execution that was given one model as both has a single event, which may be the baseline's.
        others = self._consumers(model.id, "model", "baseline_model")
        self.reads.load_artifacts_of(execution.id for execution in others)
        for execution in sorted(others, key=lambda each: each.id, reverse=True):
            outputs = self.reads.artifacts_of(execution.id, OUTPUTS)
            blessing = next((each for each in outputs if kind(each) == "ModelBlessing"), None)
            if not blessing or not words.is_evaluator(execution, outputs):
                continue
            if execution.id in judges or words.judged(blessing, model):
                reports = [each for each in outputs if kind(each) == "EdgeReport"]
                figures = {name: figure for report in reports for name, figure in words.figures(report).items()}
                blessed, reason = bool(value(blessing, "blessed", 0)), value(blessing, "reason", "")
                found.append(Verdict(blessed, reason, figures, self._step(execution)))
        return found

    def pushed(self, models: Iterable[Artifact]) -> dict[int, list[tuple[Artifact, Execution]]]:
        """The pushes of each model that took place, newest first: what Pusher put out, and its execution."""
        ids = [model.id for model in models]
        events = self.reads.events_of_artifacts(ids)
        users = {event.execution_id for found in events.values() for event in found if event.type in INPUTS}
        self.reads.load_artifacts_of(users)
        self.reads.executions(users)
        return {
            model_id: [
                (artifact, execution)
                for execution in self._consumers(model_id, "model")
                for artifact in self.reads.artifacts_of(execution.id, OUTPUTS)
                if kind(artifact) == "PushedModel" and value(artifact, "pushed", 0)
            ]
            for model_id in ids
        }

    def push(self, artifact: Artifact, execution: Execution) -> Push:
        """What is told of one push."""
        version = str(value(artifact, "pushed_version", ""))
        return Push(destination(artifact), version, self._step(execution))

    def newest_output(self, node_id: str, artifact_type: str) -> dict[str, Any]:
        """``uri`` and custom properties of an artifact that a node's newest execution put out; empty without one.

        Args:
          node_id: the component's id.
          artifact_type: the artifact's type name.
        """
        client = self.reads.client
        contexts = [each for each in client.get_contexts_by_type("node") if each.name.endswith(f".{node_id}")]
        ids = [each.id for context in contexts for each in client.get_executions_by_context(context.id)]
        outputs = self.reads.artifacts_of(max(ids), OUTPUTS) if ids else []
        found = next((each for each in outputs if each.type == artifact_type), None)
        return {name: value(found, name) for name in found.custom_properties} | {"uri": found.uri} if found else {}

    def _producers(self, artifact_ids: Collection[int]) -> dict[int, Execution]:
        """The execution that made each artifact: later ones only took it from the cache."""
        events = self.reads.events_of_artifacts(artifact_ids)
        made = {key: [event for event in found if event.type in OUTPUTS] for key, found in events.items()}
        self.reads.executions(event.execution_id for found in made.values() for event in found)
        makers = {key: self._complete(found) for key, found in made.items()}
        return {key: found[-1] for key, found in makers.items() if found}

    def _consumers(self, artifact_id: int, *keys: str) -> list[Execution]:
        events = self.reads.events_of_artifacts([artifact_id])[artifact_id]
        return self._complete(each for each in events if each.type in INPUTS and _key(each) in keys)

    def _complete(self, events: Iterable[Event]) -> list[Execution]:
        """The executions of events that ran to their end, newest first."""
        executions = self.reads.executions(event.execution_id for event in events)
        complete = filter(words.is_complete, executions)
        return sorted(complete, key=lambda each: (each.create_time_since_epoch, each.id), reverse=True)

    def _step(self, execution: Execution) -> Step:
        state = pb.Execution.State.Name(execution.last_known_state)
        return Step(
            component=words.names(execution, self.reads.contexts(execution.id)).node,
            type=execution.type,
            execution_id=execution.id,
            state=state,
            started=time_text(execution.create_time_since_epoch),
            finished=time_text(execution.last_update_time_since_epoch) if state == "COMPLETE" else None,
            recipe=words.recipe(execution),
            inputs=tuple(map(reference, self.reads.artifacts_of(execution.id, INPUTS))),
            outputs=tuple(map(reference, self.reads.artifacts_of(execution.id, OUTPUTS))),
        )


def reference(artifact: Artifact) -> ArtifactRef:
    """What a lineage keeps of an artifact."""
    return ArtifactRef(artifact.type, artifact.uri, artifact.id, value(artifact, "sha256"))


def destination(pushed: Artifact) -> str:
    """Where Pusher put a model."""
    return str(value(pushed, "pushed_destination", pushed.uri))


def time_text(milliseconds: int) -> str:
    """A time of the store, which counts from 1970, as ISO 8601 in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).isoformat(timespec="milliseconds")


def _key(event: Event) -> str:
    return event.path.steps[0].key if event.path.steps else ""


def _examples(artifact: Artifact) -> ExamplesSource:
    span, version = value(artifact, "span"), value(artifact, "version")
    return ExamplesSource(
        uri=artifact.uri,
        span=None if span is None else int(span),
        version=None if version is None else int(version),
        split_names=tuple(json.loads(value(artifact, "split_names") or "[]")),
        input_fingerprint=value(artifact, "input_fingerprint"),
    )
