"""Executor of Quantizer."""

from __future__ import annotations

from tfx_edge.stages.executor import ModelExecutor


class Executor(ModelExecutor):
    """Quantizes in a child process."""

    WORK = "tfx_edge.quantizer.work:quantize"
    COMPONENT = "Quantizer"
