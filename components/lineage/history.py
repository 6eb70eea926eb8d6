"""What the EdgeEvaluators of a store found, run after run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import chain

from tfx_edge.errors import ConfigError
from tfx_edge.lineage.connection import Place
from tfx_edge.lineage.opening import explained
from tfx_edge.lineage.reads import OUTPUTS, Artifact, Execution
from tfx_edge.lineage.store import Store, time_text
from tfx_edge.lineage.words import figures, is_complete, names, value


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


def read(metadata: Place, nodes: Collection[str] = (), last: int | None = None) -> list[Entry]:
    """Reads the evaluations of a store, oldest first; an evaluation that a later run took from the cache counts once.

    Args:
      metadata: the store: a SQLite file, or a server's URL; it is only read.
      nodes: ids of evaluators, such as ``EdgeEvaluator.candidate`` or just ``candidate``; none for all.
      last: how many to keep, the newest; None for all.

    Raises:
      ConfigError: the store cannot be read, or has no evaluation, or a node has none.
    """
    wanted, known, chosen = set(nodes), set[str](), list[Entry]()
    with explained(metadata):
        store = Store(metadata)
        for report, execution in _evaluations(store):
            if last and len(chosen) == last and wanted <= {*known, *map(short_name, known)}:
                break
            entry = _entry(store, report, execution)
            known.add(entry.node)
            fits = not wanted or {entry.node, short_name(entry.node)} & wanted
            if fits and not (last and len(chosen) == last):
                chosen.append(entry)
    if not known:
        raise ConfigError(
            f"{str(metadata)!r} holds no report of an EdgeEvaluator; run a pipeline with one, "
            "or name its store with --metadata"
        )
    unknown = [node for node in nodes if node not in {*known, *map(short_name, known)}]
    if unknown:
        there = ", ".join(sorted(known))
        raise ConfigError(f"no evaluator is called {', '.join(unknown)}; those in the store are {there}")
    return chosen[::-1]


def short_name(node: str) -> str:
    """The part of an evaluator's id that tells it from others."""
    return node.removeprefix("EdgeEvaluator.").removeprefix("EdgeEvaluator-")  # Kubeflow's tasks have no dots


def _evaluations(store: Store) -> list[tuple[Artifact, Execution]]:
    """Each report with the execution that made it, newest first."""
    reports = {report.id: report for report in store.artifacts_of_kind("EdgeReport")}
    events = {
        key: [event.execution_id for event in found if event.type in OUTPUTS]
        for key, found in store.reads.events_of_artifacts(reports).items()
    }
    makers = {each.id: each for each in store.reads.executions(chain.from_iterable(events.values()))}
    made = []
    for key, ids in events.items():
        complete = [makers[each] for each in sorted(ids) if each in makers and is_complete(makers[each])]
        made += [(reports[key], execution) for execution in complete[:1]]
    return sorted(made, key=lambda each: (each[1].create_time_since_epoch, each[1].id), reverse=True)


def _entry(store: Store, report: Artifact, execution: Execution) -> Entry:
    found = names(execution, store.reads.contexts(execution.id))
    return Entry(
        execution_id=execution.id,
        run=found.run,
        pipeline=found.pipeline,
        node=found.node,
        time=time_text(execution.create_time_since_epoch),
        sha256=value(report, "sha256"),
        blessed=bool(value(report, "blessed", 0)),
        reason=value(report, "reason", ""),
        figures=figures(report),
        uri=report.uri,
    )
