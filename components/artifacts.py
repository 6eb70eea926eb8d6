"""Artifact types of tfx-edge."""

from __future__ import annotations

from tfx.types import artifact


class EdgeReport(artifact.Artifact):
    """What EdgeEvaluator found: ``report.json``; the figures are custom properties of the same names."""

    TYPE_NAME = "tfx_edge.EdgeReport"
