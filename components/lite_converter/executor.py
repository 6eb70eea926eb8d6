"""Executor of LiteConverter."""

from __future__ import annotations

from tfx_edge.stages.executor import ModelExecutor


class Executor(ModelExecutor):
    """Converts in a child process, since a converter that meets what it cannot handle may abort."""

    WORK = "tfx_edge.lite_converter.work:convert_model"
    COMPONENT = "LiteConverter"
