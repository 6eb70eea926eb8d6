"""Reading many things at once answers what asking for each of them does, whatever a store holds."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_metadata.proto import metadata_store_pb2 as pb
from plain_lineage import Plain
from test_history import History
from test_lineage import SHA256, TYPES, Digits, Writer

from tfx_edge.errors import ConfigError
from tfx_edge.lineage import reads
from tfx_edge.lineage.history import read
from tfx_edge.lineage.reads import Reads
from tfx_edge.lineage.trace import trace

KINDS = ("Model", "Examples", "ModelBlessing", "tfx_edge.EdgeReport", "PushedModel", "Schema")
STATES = (pb.Execution.COMPLETE, pb.Execution.COMPLETE, pb.Execution.CACHED, pb.Execution.FAILED)
KEYS = ("model", "baseline_model", "examples")


@dataclass(frozen=True)
class Graph:
    """Artifacts as their kind and a number; executions as their type, state, inputs by key, and outputs."""

    artifacts: list[tuple[str, int]]
    executions: list[tuple[str, Any, dict[int, str], set[int]]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any graph at all, cycles among them; the first artifact is a model."""
    artifact = st.tuples(st.sampled_from(KINDS), st.integers(0, 3))
    artifacts = [("Model", 0), *draw(st.lists(artifact, min_size=3, max_size=14))]
    some = st.integers(0, len(artifacts) - 1)
    execution = st.tuples(
        st.sampled_from(sorted(TYPES)),
        st.sampled_from(STATES),
        st.dictionaries(some, st.sampled_from(KEYS), max_size=4),
        st.sets(some, max_size=4),
    )
    return Graph(artifacts, draw(st.lists(execution, min_size=1, max_size=14)))


def write(graph: Graph, path: Path) -> Writer:
    writer = Writer(path)
    artifacts = []
    for number, (kind, variant) in enumerate(graph.artifacts):
        type_id = writer.store.put_artifact_type(pb.ArtifactType(name=kind))
        artifact = pb.Artifact(type_id=type_id, uri=f"/{number}", state=pb.Artifact.LIVE)
        numbers = {"blessed": variant % 2, "pushed": variant % 2, "current_model_id": 1 + variant}
        for name, value in numbers.items():
            artifact.custom_properties[name].int_value = value
        artifact.custom_properties["sha256"].string_value = SHA256 if variant < 2 else "ab" * 32
        artifacts.append(artifact)
    ids = writer.store.put_artifacts(artifacts)
    types = {name: writer.store.put_execution_type(pb.ExecutionType(name=TYPES[name])) for name in TYPES}
    made = writer.store.put_executions(
        [pb.Execution(type_id=types[name], last_known_state=state) for name, state, _, _ in graph.executions]
    )
    events = []
    for execution_id, (_, _, inputs, outputs) in zip(made, graph.executions, strict=True):
        for kind, keys in ((pb.Event.INPUT, inputs), (pb.Event.OUTPUT, dict.fromkeys(sorted(outputs), "output"))):
            for number, key in keys.items():
                path_of = pb.Event.Path(steps=[pb.Event.Path.Step(key=key)])
                events.append(pb.Event(artifact_id=ids[number], execution_id=execution_id, type=kind, path=path_of))
    writer.store.put_events(events)
    return writer


@settings(max_examples=15, deadline=None)
@given(graph=graphs(), at_once=st.sampled_from([1, 3, 1000]))
def test_answers_are_those_of_single_questions(graph: Graph, at_once: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reads, "_AT_ONCE", at_once)
        writer = write(graph, Path(folder, "metadata.db"))
        plain = Plain(writer.store)
        lineage = trace(SHA256, writer.path)
        assert {
            "model": lineage.model.id,
            "steps": [step.execution_id for step in lineage.steps],
            "examples": [examples.uri for examples in lineage.examples],
            "verdicts": [(verdict.execution.execution_id, verdict.blessed) for verdict in lineage.verdicts],
            "pushed": [push.execution.execution_id for push in lineage.pushed],
        } == plain.lineage(SHA256)
        try:
            found = [entry.execution_id for entry in read(writer.path)]
        except ConfigError:
            found = []
        assert found == plain.history()


class Counting:
    """Notes the questions that a client is asked."""

    def __init__(self, client: Any, asked: list[str]) -> None:
        self.client = client
        self.asked = asked

    def __getattr__(self, name: str) -> Any:
        def ask(*arguments: Any) -> Any:
            self.asked.append(name)
            return getattr(self.client, name)(*arguments)

        return ask


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    questions: list[str] = []
    build = Reads.__init__
    monkeypatch.setattr(Reads, "__init__", lambda self, client: build(self, Counting(client, questions)))
    return questions


def test_models_of_equal_content_cost_no_further_questions(tmp_path: Path, asked: list[str]) -> None:
    digits = Digits(tmp_path)
    digits.push(digits.model)
    trace(SHA256, digits.database)
    before = len(asked)
    for _ in range(5):
        twin = digits.writer.artifact("Model", sha256=SHA256)
        digits.writer.execution("LiteConverter", {"model": digits.pruned}, {"edge_model": twin})
    asked.clear()
    trace(SHA256, digits.database)
    assert len(asked) == before


def test_the_newest_evaluations_cost_no_questions_about_the_others(tmp_path: Path, asked: list[str]) -> None:
    history = History(tmp_path)
    for run in range(6):
        history.judge(run=f"run-{run}")
    read(history.database, last=2)
    assert asked.count("get_contexts_by_execution") == 2
    asked.clear()
    read(history.database)
    assert asked.count("get_contexts_by_execution") == 6
