"""What lineage and history have to answer, found one question at a time: slow, and easy to follow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ml_metadata.proto import metadata_store_pb2 as pb

INPUTS, OUTPUTS = (pb.Event.INPUT,), (pb.Event.OUTPUT,)


class Plain:
    """Asks the client of a store."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def lineage(self, sha256: str) -> dict[str, Any]:
        models = [each for each in self.client.get_artifacts_by_type("Model") if text(each, "sha256") == sha256]
        model = max(models, key=lambda each: (bool(self.pushes(each)), each.id))
        executions, sources = self.ancestry(model)
        newest = sorted(executions, key=lambda each: (each.create_time_since_epoch, each.id), reverse=True)
        return {
            "model": model.id,
            "steps": [each.id for each in newest],
            "examples": [each.uri for each in sorted(sources, key=lambda each: each.id)],
            "verdicts": self.verdicts(model),
            "pushed": self.pushes(model),
        }

    def history(self) -> list[int]:
        found = []
        for report in self.client.get_artifacts_by_type("tfx_edge.EdgeReport"):
            made = [each.execution_id for each in self.events(report) if each.type in OUTPUTS]
            complete = [each for each in sorted(made) if self.complete(each)]
            found += complete[:1]
        return sorted(found)

    def ancestry(self, model: Any) -> tuple[list[Any], list[Any]]:
        executions: dict[int, Any] = {}
        sources: dict[int, Any] = {}
        seen, waiting = set(), [model]
        while waiting:
            artifact = waiting.pop()
            if artifact.id in seen:
                continue
            seen.add(artifact.id)
            makers = [self.complete(each.execution_id) for each in self.events(artifact) if each.type in OUTPUTS]
            complete = [each for each in makers if each]
            maker = min(complete, key=lambda each: (each.create_time_since_epoch, each.id), default=None)
            inputs = list(self.artifacts(maker, INPUTS)) if maker else []
            if maker:
                executions[maker.id] = maker
            if artifact.type == "Examples" and all(each.type != "Examples" for each in inputs):
                sources[artifact.id] = artifact
            waiting += inputs
        return list(executions.values()), list(sources.values())

    def verdicts(self, model: Any) -> list[tuple[int, bool]]:
        found = {}
        for event in self.events(model):
            execution = self.complete(event.execution_id)
            key = event.path.steps[0].key
            if event.type not in INPUTS or not execution or not execution.type.endswith("EdgeEvaluator"):
                continue
            outputs = list(self.artifacts(execution, OUTPUTS))
            blessing = next((each for each in outputs if each.type == "ModelBlessing"), None)
            own = blessing and blessing.custom_properties["current_model_id"].int_value == model.id
            if blessing and (key == "model" or (key == "baseline_model" and own)):
                found[execution.id] = bool(blessing.custom_properties["blessed"].int_value)
        return sorted(found.items(), reverse=True)

    def pushes(self, model: Any) -> list[int]:
        users = [each for each in self.events(model) if each.type in INPUTS and each.path.steps[0].key == "model"]
        executions = [each for each in (self.complete(event.execution_id) for event in users) if each]
        newest = sorted(executions, key=lambda each: (each.create_time_since_epoch, each.id), reverse=True)
        return [
            execution.id
            for execution in newest
            for artifact in self.artifacts(execution, OUTPUTS)
            if artifact.type == "PushedModel" and artifact.custom_properties["pushed"].int_value
        ]

    def complete(self, execution_id: int) -> Any:
        (execution,) = self.client.get_executions_by_id([execution_id])
        return execution if execution.last_known_state == pb.Execution.COMPLETE else None

    def events(self, artifact: Any) -> list[Any]:
        return list(self.client.get_events_by_artifact_ids([artifact.id]))

    def artifacts(self, execution: Any, kinds: tuple[Any, ...]) -> Iterator[Any]:
        events = self.client.get_events_by_execution_ids([execution.id])
        for artifact_id in sorted({each.artifact_id for each in events if each.type in kinds}):
            yield from self.client.get_artifacts_by_id([artifact_id])


def text(item: Any, name: str) -> str:
    return str(item.custom_properties[name].string_value)
