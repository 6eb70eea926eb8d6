"""The verdict of a pipeline's newest run, for scripts that deploy by it."""

from __future__ import annotations

from typing import Any

from tfx_edge.errors import ConfigError, EdgeError
from tfx_edge.lineage.connection import Place, pb
from tfx_edge.lineage.opening import explained
from tfx_edge.lineage.reads import OUTPUTS, Execution
from tfx_edge.lineage.store import Store
from tfx_edge.lineage.words import kind, names, value

GATE = "EdgeEvaluator"
_DONE = (pb.Execution.COMPLETE, pb.Execution.CACHED)


class NotBlessedError(EdgeError):
    """A gate withheld its blessing, or its verdict on the newest run is not known."""


def newest_verdict(metadata: Place, gate: str = GATE, pipeline: str | None = None) -> str:
    """What a gate said in the newest run of its pipeline, whether it was measured then or came from the cache.

    Args:
      metadata: the store: a SQLite file, or a server's URL; it is only read.
      gate: the id of the EdgeEvaluator.
      pipeline: the pipeline's name; None where only one has such a node.

    Returns:
      A line that says that the model was blessed, and why.

    Raises:
      NotBlessedError: it was not, or the newest run has no verdict.
      ConfigError: the store cannot be read, or the gate is not in it, or is in several pipelines.
    """
    with explained(metadata):
        store = Store(metadata)
        contexts = {
            name: {context.name: context.id for context in store.reads.client.get_contexts_by_type(name)}
            for name in ("pipeline", "node")
        }
        pipeline = _pipeline(contexts, gate, pipeline)
        newest = _newest(store, contexts["pipeline"][pipeline])
        judged = _newest(store, contexts["node"][f"{pipeline}.{gate}"])
        run, judged_run = (names(each, store.reads.contexts(each.id)) for each in (newest, judged))
        if judged_run.run != run.run:
            raise NotBlessedError(
                f"no verdict of {gate} on run {run.run} of {pipeline}, which came to {run.node} ({_state(newest)})"
            )
        outputs = store.reads.artifacts_of(judged.id, OUTPUTS) if judged.last_known_state in _DONE else []
        blessing = next((each for each in outputs if kind(each) == "ModelBlessing"), None)
    if blessing is None:
        raise NotBlessedError(f"no verdict of {gate} on run {run.run} of {pipeline}: its state is {_state(judged)}")
    told = f"by {gate} in run {run.run} of {pipeline}: {value(blessing, 'reason', 'no reason is recorded')}"
    if value(blessing, "blessed") != 1:
        raise NotBlessedError(f"not blessed {told}")
    return f"blessed {told}"


def _pipeline(contexts: dict[str, dict[str, int]], gate: str, wanted: str | None) -> str:
    found = sorted(each for each in contexts["pipeline"] if f"{each}.{gate}" in contexts["node"])
    if wanted is not None and wanted in found:
        return wanted
    if wanted is None and len(found) == 1:
        return found[0]
    if wanted is None and found:
        raise ConfigError(f"{gate} is in several pipelines of this store: name one with --pipeline: {', '.join(found)}")
    nodes = ", ".join(sorted(contexts["node"])) or "none"
    where = f"pipeline {wanted!r}" if wanted else "any pipeline"
    raise ConfigError(f"there is no node {gate!r} in {where} of this store; its nodes are {nodes}")


def _newest(store: Store, context_id: int) -> Execution:
    executions = store.reads.client.get_executions_by_context(context_id)
    if not executions:
        raise NotBlessedError("no verdict: the pipeline or its gate has not run yet")
    return max(executions, key=lambda execution: execution.id)


def _state(execution: Any) -> str:
    return str(pb.Execution.State.Name(execution.last_known_state))
