"""Configuration of EdgeEvaluator."""

from __future__ import annotations

from tfx_edge.gate.settings import GateSettings


class EdgeEvaluatorConfig(GateSettings):
    """What is measured, where, and what must hold: see `tfx_edge.gate.settings.GateSettings` for its fields."""
