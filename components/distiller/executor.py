"""Executor of Distiller."""

from __future__ import annotations

from tfx_edge.stages.executor import ModelExecutor


class Executor(ModelExecutor):
    """Distills in a child process."""

    WORK = "tfx_edge.distiller.work:distill"
    COMPONENT = "Distiller"
