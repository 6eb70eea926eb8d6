"""What the EdgeEvaluators of a store found, run after run."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ml_metadata import errors as store_errors

from tfx_edge.errors import ConfigError
from tfx_edge.lineage.store import Artifact, Execution, Store, figures, pb, time_text, value

_OUTPUTS = (pb.Event.OUTPUT, pb.Event.DECLARED_OUTPUT)
_REPORT = "EdgeReport"


@dataclass(frozen=True)
class Entry:
    """One evaluation.

    Attributes:
      execution_id: of the EdgeEvaluator's execution.
      run: the pipeline run it belongs to; empty where that was not recorded.
      pipeline: the pipeline's name; likewise.
      node: the evaluator's id in the pipeline.
      time: when it began, ISO 8601 in UTC.
      sha256: of the judged file, or None.
      blessed: its verdict.
      reason: in one sentence.
      figures: by metric name, in the units that the names end with; bounds as ``<metric>_low`` and ``<metric>_high``.
      uri: of the EdgeReport artifact.
    """

    execution_id: int
    run: str
    pipeline: str
    node: str
    time: str
    sha256: str | None
    blessed: bool
    reason: str
    figures: dict[str, float]
    uri: str


def read(metadata: Path, nodes: Collection[str] = (), last: int | None = None) -> list[Entry]:
    """Reads the evaluations of a store, oldest first; an evaluation that a later run took from the cache counts once.

    Args:
      metadata: the SQLite file of ML Metadata; it is only read.
      nodes: ids of evaluators, such as ``EdgeEvaluator.candidate`` or just ``candidate``; none for all.
      last: how many to keep, the newest; None for all.

    Raises:
      ConfigError: the store cannot be read, or has no evaluation, or a node has none.
    """
    try:
        entries = sorted(_entries(Store(metadata)), key=lambda entry: (entry.time, entry.execution_id))
    except (store_errors.StatusError, RuntimeError) as error:
        raise ConfigError(
            f"cannot read {str(metadata)!r} as a SQLite store of ML Metadata ({error}); "
            "name the file that the pipeline wrote with --metadata"
        ) from error
    if not entries:
        raise ConfigError(
            f"{str(metadata)!r} holds no report of an EdgeEvaluator; run a pipeline with one, "
            "or name its store with --metadata"
        )
    known = sorted({entry.node for entry in entries})
    unknown = [node for node in nodes if node not in {*known, *map(short_name, known)}]
    if unknown:
        raise ConfigError(f"no evaluator is called {', '.join(unknown)}; those in the store are {', '.join(known)}")
    chosen = [entry for entry in entries if not nodes or {entry.node, short_name(entry.node)} & set(nodes)]
    return chosen[-last:] if last else chosen


def short_name(node: str) -> str:
    """The part of an evaluator's id that tells it from others."""
    return node.removeprefix("EdgeEvaluator.")


def _entries(store: Store) -> Iterator[Entry]:
    reports = {
        report.id: report
        for kind in store.client.get_artifact_types()
        if kind.name.rpartition(".")[2] == _REPORT
        for report in store.client.get_artifacts_by_type(kind.name)
    }
    if not reports:
        return
    events = [each for each in store.client.get_events_by_artifact_ids(reports) if each.type in _OUTPUTS]
    ids = {event.execution_id for event in events}
    executions = {each.id: each for each in store.client.get_executions_by_id(ids)} if ids else {}
    seen = set()
    for event in sorted(events, key=lambda each: each.execution_id):
        execution = executions.get(event.execution_id)
        if event.artifact_id in seen or not execution or execution.last_known_state != pb.Execution.COMPLETE:
            continue
        seen.add(event.artifact_id)
        yield _entry(store, reports[event.artifact_id], execution)


def _entry(store: Store, report: Artifact, execution: Execution) -> Entry:
    names = {context.type: context.name for context in store.client.get_contexts_by_execution(execution.id)}
    pipeline = names.get("pipeline", "")
    return Entry(
        execution_id=execution.id,
        run=names.get("pipeline_run", ""),
        pipeline=pipeline,
        node=names.get("node", execution.type.rpartition(".")[2]).removeprefix(f"{pipeline}."),
        time=time_text(execution.create_time_since_epoch),
        sha256=value(report, "sha256"),
        blessed=bool(value(report, "blessed", 0)),
        reason=value(report, "reason", ""),
        figures=figures(report),
        uri=report.uri,
    )
