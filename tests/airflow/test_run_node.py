"""One node at a time, as Airflow's tasks run them: what a node that runs again leaves in ML Metadata."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ml_metadata
import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from tfx_edge.errors import EdgeError
from tfx_edge.lineage.connection import connection_config

pytestmark = pytest.mark.airflow


class Tasks:
    """A small pipeline each of whose nodes can be run in a DAG run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.connection = connection_config(folder / "metadata.db")

    def run(self, node_id: str, run_id: str, imported: str = "model") -> None:
        import small

        from tfx_edge.airflow import run_node

        dag_run = SimpleNamespace(dag_id=small.NAME, run_id=run_id, conf={})
        pipeline = small.compiled(self.folder, self.connection, imported)
        run_node(pipeline, node_id, dag_run=dag_run, params={}, dag=SimpleNamespace(params={}))

    def executions(self, node_id: str) -> list[tuple[int, list[int]]]:
        """The state of each execution of a node, and the ids of its outputs."""
        store = ml_metadata.MetadataStore(self.connection)
        context = store.get_context_by_type_and_name("node", f"small.{node_id}")
        found = sorted(store.get_executions_by_context(context.id), key=lambda each: each.id)
        events = [store.get_events_by_execution_ids([each.id]) for each in found]
        return [
            (each.last_known_state, [event.artifact_id for event in outputs])
            for each, outputs in zip(found, events, strict=True)
        ]


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tasks:
    if importlib.util.find_spec("airflow") is None:
        pytest.skip("Airflow is not installed here: make test-airflow")
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    return Tasks(tmp_path)


def test_a_resolver_and_an_importer_that_are_cleared_let_their_outputs_stand(tasks: Tasks) -> None:
    tasks.run("Importer", "first")
    tasks.run("Resolver", "first")
    tasks.run("Importer", "second")
    (imported, second), resolved = tasks.executions("Importer"), tasks.executions("Resolver")
    assert imported[1] != second[1]
    assert [outputs for _, outputs in resolved] == [imported[1]]
    for node in ("Importer", "Resolver"):
        tasks.run(node, "first")
    assert (tasks.executions("Importer"), tasks.executions("Resolver")) == ([imported, second], resolved)
    tasks.run("Resolver", "second")
    assert [outputs for _, outputs in tasks.executions("Resolver")] == [imported[1], second[1]]


def test_an_importer_does_not_stand_for_another_place_in_the_same_run(tasks: Tasks) -> None:
    tasks.run("Importer", "first")
    with pytest.raises(EdgeError, match=r"Importer: it succeeded .* another value of artifact_uri"):
        tasks.run("Importer", "first", imported="other")


def test_an_attempt_that_ends_while_the_next_one_begins_stands(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        tasks.run("Reader", "first")
    ((state, _),) = tasks.executions("Reader")
    assert state == pb.Execution.FAILED
    from tfx.orchestration.portable.mlmd import execution_lib

    prepare = execution_lib.prepare_execution

    def prepare_late(handle: Any, *arguments: Any) -> Any:
        (execution,) = handle.store.get_executions()
        execution.last_known_state = pb.Execution.COMPLETE
        handle.store.put_executions([execution])
        return prepare(handle, *arguments)

    monkeypatch.setattr(execution_lib, "prepare_execution", prepare_late)
    tasks.run("Reader", "first")
    ((state, _),) = tasks.executions("Reader")
    assert state == pb.Execution.COMPLETE
