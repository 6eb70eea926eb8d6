"""The models that a page compares: every candidate and every baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfx_edge.gate.estimate import Estimate
from tfx_edge.report import numbers, plots
from tfx_edge.report.checks import outcome
from tfx_edge.report.document import figure, table
from tfx_edge.report.figures import better, main_quality, main_target

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Model:
    """One row of the table of variants; a field of ``figures`` is empty where the report has none."""

    name: str
    state: str
    sha256: str
    figures: tuple[str, ...]


def variants(reports: Sequence[Report]) -> tuple[list[str], list[Model], list[plots.Pareto]]:
    """All models: the metrics they are compared by, a row for each, and the plots of quality against cost."""
    target, gain = main_target(reports[0]), main_quality(reports[0])
    times = ("latency_p50_ms", "latency_min_ms")
    time = next((name for name in times if figure(reports[0], "candidate", name, target)), None)
    metrics = [name for name in ("size_bytes", "gzip_bytes", time, gain) if name]
    models: list[tuple[Model, dict[str, Estimate | None]]] = []
    for report, role in _models(reports):
        found = {name: figure(report, role, name, target) for name in metrics}
        texts = tuple(numbers.amount(name, each.value) if each else "" for name, each in found.items())
        state = outcome(table(report, "verdict")) if role == "candidate" else "baseline"
        sha256 = str(
            table(report, "inspection", role).get("sha256")
            or (report.get("sha256") if role == "candidate" else None)
            or ""
        )
        name = str(report.get("name") or "candidate") if role == "candidate" else "baseline"
        models.append((Model(name, state, sha256[:8], texts), found))
    drawn = []
    for cost in ("size_bytes", time):
        points = [
            plots.Variant(model.name, model.state, x, y)
            for model, found in models
            if cost and gain and (x := found[cost]) and (y := found[gain])
        ]
        if cost and gain and len(points) > 1:
            drawn.append(plots.pareto(cost, gain, points, better(reports[0], gain)))
    return metrics, [model for model, _ in models], drawn


def _models(reports: Sequence[Report]) -> list[tuple[Report, str]]:
    """Every candidate, then the baselines, each once."""
    models = [(report, "candidate") for report in reports]
    seen = set()
    for report in reports:
        has = table(report, "inspection", "baseline") or any(
            table(report, "targets", name, "baseline") for name in table(report, "targets")
        )
        identity = str(table(report, "inspection", "baseline").get("sha256"))
        if has and identity not in seen:
            seen.add(identity)
            models.append((report, "baseline"))
    return models
