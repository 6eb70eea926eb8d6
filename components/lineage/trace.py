"""Walks ML Metadata from a pushed file to the examples it was learnt from.

Only ``ml_metadata`` is used, neither TFX nor TensorFlow, and only reads that every version of the store answers: events
by artifact and by execution (some versions have no filter queries and no lineage subgraphs).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import ml_metadata
from ml_metadata import errors as store_errors
from ml_metadata.proto import metadata_store_pb2 as pb

from tfx_edge.errors import ConfigError, ModelError

ENVIRONMENT_VARIABLE = "TFX_EDGE_METADATA"
_NAMES = ("metadata.db", "metadata.sqlite")
_FOLDERS = (".", "metadata", "metadata/*", "tfx_metadata/*")
_INPUTS = (pb.Event.INPUT, pb.Event.DECLARED_INPUT)
_OUTPUTS = (pb.Event.OUTPUT, pb.Event.DECLARED_OUTPUT)


@dataclass(frozen=True)
class ArtifactRef:
    """An artifact of the store; ``sha256`` is None where it was not recorded."""

    type: str
    uri: str
    id: int
    sha256: str | None


@dataclass(frozen=True)
class Step:
    """An execution that had a part in the model; times are ISO 8601 in UTC, ``recipe`` is the parsed ``config``."""

    component: str
    type: str
    execution_id: int
    state: str
    started: str
    finished: str | None
    recipe: dict[str, Any] | None
    inputs: tuple[ArtifactRef, ...]
    outputs: tuple[ArtifactRef, ...]


@dataclass(frozen=True)
class Verdict:
    """What one EdgeEvaluator found: ``figures`` by metric name, in the units that the names end with."""

    blessed: bool
    reason: str
    figures: dict[str, float]
    execution: Step


@dataclass(frozen=True)
class Push:
    """One push that took place."""

    destination: str
    version: str
    execution: Step


@dataclass(frozen=True)
class ExamplesSource:
    """Examples that no other examples were made into: what the pipeline read from outside."""

    uri: str
    span: int | None
    version: int | None
    split_names: tuple[str, ...]
    input_fingerprint: str | None


@dataclass(frozen=True)
class Lineage:
    """Where a model came from.

    Attributes:
      sha256: of the file.
      file: its path, or None if it was asked for by its SHA-256.
      model: the Model artifact.
      pushed: the pushes of it, newest first.
      verdicts: of every EdgeEvaluator that judged it, newest first; serving as a baseline is not being judged.
      steps: the executions that led to it, newest first.
      examples: the examples they began with.
    """

    sha256: str
    file: str | None
    model: ArtifactRef
    pushed: tuple[Push, ...]
    verdicts: tuple[Verdict, ...]
    steps: tuple[Step, ...]
    examples: tuple[ExamplesSource, ...]


def find_metadata(given: Path | None, near: str | Path | None = None) -> Path:
    """Finds the SQLite file of ML Metadata.

    Args:
      given: the file as the caller named it; it wins over the environment variable ``TFX_EDGE_METADATA``.
      near: a file or folder whose ancestors are searched, nearest first, before the current folder and its ancestors.

    Raises:
      ConfigError: there is no such file, or more than one beside each other.
    """
    named = str(given) if given else os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        if Path(named).is_file():
            return Path(named)
        source = "--metadata" if given else ENVIRONMENT_VARIABLE
        raise ConfigError(f"{source} is {named!r}, which is no file; name the SQLite file of ML Metadata")
    starts = [Path(near).resolve()] if near and Path(near).exists() else []
    starts.append(Path.cwd())
    for folder in (folder for start in starts for folder in (start, *start.parents)):
        for pattern in _FOLDERS:
            found = sorted(path for name in _NAMES for path in folder.glob(f"{pattern}/{name}") if path.is_file())
            if len(found) > 1:
                names = ", ".join(map(str, found))
                raise ConfigError(f"several stores of ML Metadata are near: {names}; choose one with --metadata")
            if found:
                return found[0]
    searched = " or ".join(map(str, starts))
    raise ConfigError(
        f"no {' or '.join(_NAMES)} in or above {searched}; name the SQLite file of ML Metadata "
        f"with --metadata or {ENVIRONMENT_VARIABLE}"
    )


def trace(target: str, metadata: Path) -> Lineage:
    """Tells what a model was made of.

    Args:
      target: the path of a ``.tflite`` file or of the folder that was pushed, or a SHA-256 in hexadecimal digits: all
        64, or at least 8 that no other model begins with.
      metadata: the SQLite file of ML Metadata; it is only read.

    Raises:
      ConfigError: the store cannot be read.
      ModelError: the target is neither a file nor a SHA-256, or the store has no such model, or several.
    """
    file = _file(target)
    wanted = hashlib.sha256(file.read_bytes()).hexdigest() if file else target.lower()
    if not file and not re.fullmatch(r"[0-9a-f]{8,64}", wanted):
        raise ModelError(
            f"{target!r} is no .tflite file, no folder with one, and no SHA-256 (8 to 64 hexadecimal digits); "
            "check the path"
        )
    try:
        return _trace(_Store(metadata), wanted, file, metadata)
    except (store_errors.StatusError, RuntimeError) as error:
        raise ConfigError(
            f"cannot read {str(metadata)!r} as a SQLite store of ML Metadata ({error}); "
            "name the file that the pipeline wrote with --metadata"
        ) from error


def _file(target: str) -> Path | None:
    path = Path(target)
    choices = (path, path / "tflite", path / "Format-Serving" / "tflite")
    return next((choice for choice in choices if choice.is_file()), None)


def _trace(store: _Store, wanted: str, file: Path | None, metadata: Path) -> Lineage:
    models = [
        model for model in store.client.get_artifacts_by_type("Model") if _value(model, "sha256", "").startswith(wanted)
    ]
    hashes = sorted({_value(model, "sha256") for model in models})
    if not models:
        doubt = f" of {str(file)!r}: was it changed after the push, or" if file else ": are the digits wrong, or was it"
        raise ModelError(
            f"no model in {str(metadata)!r} has the SHA-256 {wanted}{doubt} made by another store? "
            "Name that one with --metadata"
        )
    if len(hashes) > 1:
        raise ModelError(f"{wanted!r} begins the SHA-256 of several models: {', '.join(hashes)}; give more digits")

    def preference(model: pb.Artifact) -> tuple[bool, bool, int]:
        places = [Path(push.destination).resolve() for push in store.pushes(model.id)]
        return bool(file and file.resolve().parent in places), bool(places), model.id

    model = max(models, key=preference)
    steps, examples = store.ancestry(model.id)
    return Lineage(
        sha256=hashes[0],
        file=str(file) if file else None,
        model=_reference(model),
        pushed=tuple(store.pushes(model.id)),
        verdicts=tuple(store.verdicts(model.id)),
        steps=steps,
        examples=examples,
    )


class _Store:
    """The questions that a lineage asks of ML Metadata."""

    def __init__(self, path: Path) -> None:
        config = pb.ConnectionConfig()
        config.sqlite.filename_uri = str(path)
        config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READONLY
        self.client = ml_metadata.MetadataStore(config)

    def ancestry(self, model_id: int) -> tuple[tuple[Step, ...], tuple[ExamplesSource, ...]]:
        """The executions that led to an artifact, newest first, and the examples that they began with."""
        steps: dict[int, Step] = {}
        sources: dict[int, pb.Artifact] = {}
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
        for execution in self._consumers(model_id, "EdgeEvaluator"):
            outputs = self._artifacts(execution.id, _OUTPUTS)
            blessing = next((each for each in outputs if each.type == "ModelBlessing"), None)
            if blessing:
                reports = [each for each in outputs if each.type.endswith("EdgeReport")]
                figures = {name: value for report in reports for name, value in _figures(report).items()}
                blessed, reason = bool(_value(blessing, "blessed", 0)), _value(blessing, "reason", "")
                found.append(Verdict(blessed, reason, figures, self._step(execution)))
        return found

    def pushes(self, model_id: int) -> list[Push]:
        """The pushes that took place, newest first."""
        return [
            Push(
                _value(artifact, "pushed_destination", artifact.uri),
                str(_value(artifact, "pushed_version", "")),
                self._step(execution),
            )
            for execution in self._consumers(model_id, "Pusher")
            for artifact in self._artifacts(execution.id, _OUTPUTS)
            if artifact.type == "PushedModel" and _value(artifact, "pushed", 0)
        ]

    def _producer(self, artifact_id: int) -> pb.Execution | None:
        """The execution that made an artifact: later ones only took it from the cache."""
        events = self.client.get_events_by_artifact_ids([artifact_id])
        makers = self._complete(event for event in events if event.type in _OUTPUTS)
        return makers[-1] if makers else None

    def _consumers(self, artifact_id: int, kind: str) -> list[pb.Execution]:
        events = self.client.get_events_by_artifact_ids([artifact_id])
        readers = self._complete(each for each in events if each.type in _INPUTS and _key(each) == "model")
        return [execution for execution in readers if execution.type.endswith(kind)]

    def _complete(self, events: Iterable[pb.Event]) -> list[pb.Execution]:
        """The executions of events that ran to their end, newest first."""
        ids = {event.execution_id for event in events}
        executions = self.client.get_executions_by_id(ids) if ids else []
        complete = [each for each in executions if each.last_known_state == pb.Execution.COMPLETE]
        return sorted(complete, key=lambda each: (each.create_time_since_epoch, each.id), reverse=True)

    def _artifacts(self, execution_id: int, kinds: Collection[int]) -> list[pb.Artifact]:
        events = self.client.get_events_by_execution_ids([execution_id])
        ids = sorted({event.artifact_id for event in events if event.type in kinds})
        return list(self.client.get_artifacts_by_id(ids)) if ids else []

    def _step(self, execution: pb.Execution) -> Step:
        names = {context.type: context.name for context in self.client.get_contexts_by_execution(execution.id)}
        node = names.get("node", execution.type.rpartition(".")[2])
        state = pb.Execution.State.Name(execution.last_known_state)
        return Step(
            component=node.removeprefix(f"{names.get('pipeline', '')}."),
            type=execution.type,
            execution_id=execution.id,
            state=state,
            started=_time(execution.create_time_since_epoch),
            finished=_time(execution.last_update_time_since_epoch) if state == "COMPLETE" else None,
            recipe=_recipe(_value(execution, "config")),
            inputs=tuple(map(_reference, self._artifacts(execution.id, _INPUTS))),
            outputs=tuple(map(_reference, self._artifacts(execution.id, _OUTPUTS))),
        )


def _key(event: pb.Event) -> str:
    return event.path.steps[0].key if event.path.steps else ""


def _value(item: pb.Artifact | pb.Execution, name: str, default: Any = None) -> Any:
    for properties in (item.custom_properties, item.properties):
        if name in properties:
            kind = properties[name].WhichOneof("value")
            return getattr(properties[name], kind) if kind else default
    return default


def _figures(report: pb.Artifact) -> dict[str, float]:
    return {
        name: value.double_value
        for name, value in sorted(report.custom_properties.items())
        if value.HasField("double_value") and name not in {"blessed", "is_external"}
    }


def _reference(artifact: pb.Artifact) -> ArtifactRef:
    return ArtifactRef(artifact.type, artifact.uri, artifact.id, _value(artifact, "sha256"))


def _examples(artifact: pb.Artifact) -> ExamplesSource:
    span, version = _value(artifact, "span"), _value(artifact, "version")
    return ExamplesSource(
        uri=artifact.uri,
        span=None if span is None else int(span),
        version=None if version is None else int(version),
        split_names=tuple(json.loads(_value(artifact, "split_names") or "[]")),
        input_fingerprint=_value(artifact, "input_fingerprint"),
    )


def _recipe(text: str | None) -> dict[str, Any] | None:
    """Other components may have a ``config`` that is no JSON object."""
    try:
        recipe = json.loads(text or "null")
    except (TypeError, ValueError):
        return None
    return recipe if isinstance(recipe, dict) else None


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).isoformat(timespec="milliseconds")
