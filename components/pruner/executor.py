"""Executor of Pruner."""

from __future__ import annotations

from tfx_edge.stages.executor import ModelExecutor


class Executor(ModelExecutor):
    """Prunes in a child process."""

    WORK = "tfx_edge.pruner.work:prune"
    COMPONENT = "Pruner"
