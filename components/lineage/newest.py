"""The verdict on one run of a pipeline, for scripts that deploy by it."""

from __future__ import annotations

from typing import Any

import ml_metadata

from tfx_edge.errors import ConfigError, EdgeError
from tfx_edge.lineage.connection import Place, pb
from tfx_edge.lineage.opening import explained
from tfx_edge.lineage.reads import OUTPUTS, Execution
from tfx_edge.lineage.store import Store
from tfx_edge.lineage.words import Names, kind, names, value

_DONE = (pb.Execution.COMPLETE, pb.Execution.CACHED)
_NEWEST = ml_metadata.ListOptions(limit=1, order_by=ml_metadata.OrderByField.ID, is_asc=False)


class NotBlessedError(EdgeError):
    """A gate withheld its blessing, or the run failed, or its verdict is not known."""


def newest_verdict(
    metadata: Place, gate: str | None = None, pipeline: str | None = None, run: str | None = None
) -> str:
    """What a gate said in the newest run of its pipeline, whether it was measured then or came from the cache.

    Args:
      metadata: the store: a SQLite file, or a server's URL; it is only read.
      gate: the id of the EdgeEvaluator; None where there is only one.
      pipeline: the pipeline's name; None where only one has such a node.
      run: the id of the run to judge by instead, from within it: of the other nodes, which may be at work or still to
        come, nothing is asked. None for the newest, in which no node may have failed or be at work.

    Returns:
      A line that says that the model was blessed, and why.

    Raises:
      NotBlessedError: it was not, or the run has no verdict, or is not complete.
      ConfigError: the store cannot be read, or the gate or the run is not in it, or there are several such gates.
    """
    with explained(metadata):
        store = Store(metadata)
        found = _gate(store, gate, pipeline)
        gate, pipeline = found.node, found.pipeline
        newest = _newest_run(store, pipeline) if run is None else run
        nodes = _nodes(store, pipeline, newest)
        there = f"run {newest} of {pipeline}"
        unfinished = [f"{node} ({_state(each)})" for node, each in nodes.items() if each.last_known_state not in _DONE]
        judged = nodes.get(gate)
        outputs = store.reads.artifacts_of(judged.id, OUTPUTS) if judged else []
        blessing = next((each for each in outputs if kind(each) == "ModelBlessing"), None)
    if judged is None:
        raise NotBlessedError(f"no verdict of {gate} on {there}, which came to {', '.join(unfinished or nodes)}")
    if judged.last_known_state not in _DONE or blessing is None:
        raise NotBlessedError(f"no verdict of {gate} on {there}: its state is {_state(judged)}")
    told = f"by {gate} in {there}: {value(blessing, 'reason', 'no reason is recorded')}"
    if value(blessing, "blessed") != 1:
        raise NotBlessedError(f"not blessed {told}")
    if unfinished and run is None:
        raise NotBlessedError(f"blessed {told}; but the run is not complete: {', '.join(unfinished)}")
    return f"blessed {told}"


def _gate(store: Store, gate: str | None, pipeline: str | None) -> Names:
    """The node whose verdict is asked for, by its newest execution."""
    nodes = dict[Names, bool]()
    for context in store.reads.client.get_contexts_by_type("node"):
        for execution in store.reads.client.get_executions_by_context(context.id, _NEWEST):
            found = names(execution, store.reads.contexts(execution.id))
            nodes[Names(found.pipeline, "", found.node)] = kind(execution).endswith("EdgeEvaluator")
    fitting = [
        each
        for each, evaluates in nodes.items()
        if (evaluates if gate is None else each.node == gate) and pipeline in (None, each.pipeline)
    ]
    if len(fitting) == 1:
        return fitting[0]
    wanted = ("EdgeEvaluator" if gate is None else f"node {gate!r}") + (
        f" in pipeline {pipeline!r}" if pipeline else ""
    )
    if fitting:
        raise ConfigError(f"several fit {wanted}: name NODE and, with --pipeline, the pipeline: {_list(fitting)}")
    if not nodes and store.reads.client.get_contexts_by_type("system.PipelineRun"):
        raise ConfigError(
            "the store is Kubeflow's, which does not record verdicts in this way; ask by 'tfx-edge kubeflow submit' or "
            "'tfx-edge kubeflow follow RUN'"
        )
    raise ConfigError(f"the store has no {wanted}; its nodes are {_list(nodes) or 'none'}")


def _list(nodes: Any) -> str:
    return ", ".join(sorted(f"{each.node} of {each.pipeline}" for each in nodes))


def _newest_run(store: Store, pipeline: str) -> str:
    client = store.reads.client
    context = client.get_context_by_type_and_name("pipeline", pipeline)
    (execution,) = client.get_executions_by_context(context.id, _NEWEST)
    return names(execution, store.reads.contexts(execution.id)).run


def _nodes(store: Store, pipeline: str, run: str) -> dict[str, Execution]:
    """The newest execution of each node in a run: other pipelines may have a run of that name."""
    context = store.reads.client.get_context_by_type_and_name("pipeline_run", run)
    executions = store.reads.client.get_executions_by_context(context.id) if context else []
    nodes = dict[str, Execution]()
    for execution in sorted(executions, key=lambda each: each.id):
        found = names(execution, store.reads.contexts(execution.id))
        if found.pipeline == pipeline:
            nodes[found.node] = execution
    if not nodes:
        raise ConfigError(f"the store has no run {run!r} of {pipeline}")
    return nodes


def _state(execution: Any) -> str:
    return str(pb.Execution.State.Name(execution.last_known_state))
