"""Executor of Merger."""

from __future__ import annotations

from tfx_edge.stages.executor import ModelExecutor


class Executor(ModelExecutor):
    """Merges in a child process."""

    WORK = "tfx_edge.merger.work:merge_models"
    COMPONENT = "Merger"
