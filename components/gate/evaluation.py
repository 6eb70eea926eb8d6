"""Measures a candidate and its baseline, and judges: from model files and examples to a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfx_edge.devices import local
from tfx_edge.errors import EdgeError
from tfx_edge.gate.metrics import accuracy
from tfx_edge.gate.thresholds import Thresholds
from tfx_edge.gate.verdict import Verdict, judge
from tfx_edge.lite.inspect import inspect
from tfx_edge.models import layout

Examples = Callable[[], Iterator[tuple[dict[str, np.ndarray], np.ndarray]]]
Figures = dict[str, float | None]

SCHEMA_VERSION = 1


def evaluate(
    model_uri: str | Path,
    baseline_uri: str | Path | None,
    examples: Examples,
    settings: Mapping[str, Any],
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Evaluates a lite stage; whatever goes wrong becomes a reason not to bless.

    Args:
      model_uri: the candidate's Model artifact.
      baseline_uri: the baseline's, or None.
      examples: makes one pass over the eval split: (features, labels) batches.
      settings: ``thresholds``, and ``processes``, ``runs``, ``warmup``, ``num_threads``, ``timeout_s`` as
        `tfx_edge.devices.local.measure` takes them.
      progress: takes lines for people.

    Returns:
      The report: ``sha256``, ``verdict``, ``candidate`` and ``baseline`` figures, ``thresholds``, ``latency`` with raw
      samples, ``inspection``.
    """
    thresholds = Thresholds.parse(settings["thresholds"])
    measuring = {key: value for key, value in settings.items() if key != "thresholds"}
    problems: list[str] = []
    candidate, details = _figures("candidate", model_uri, examples, measuring, problems)
    progress(_line("candidate", candidate))
    baseline: Figures | None = None
    if baseline_uri is not None:
        baseline, _ = _figures("baseline", baseline_uri, examples, measuring, problems)
        progress(_line("baseline", baseline))
    verdict = judge(thresholds, candidate, baseline, problems)
    return {
        "schema_version": SCHEMA_VERSION,
        "sha256": details.get("inspection", {}).get("sha256"),
        "verdict": verdict.to_dict(),
        "candidate": candidate,
        "baseline": baseline,
        "thresholds": settings["thresholds"],
        **details,
    }


def unevaluated(reason: str) -> dict[str, Any]:
    """The report when the evaluation itself did not come to an end: no figures, not blessed."""
    return {
        "schema_version": SCHEMA_VERSION,
        "sha256": None,
        "verdict": Verdict(False, (), reason).to_dict(),
        "candidate": {},
        "baseline": None,
    }


def _figures(
    role: str, model_uri: str | Path, examples: Examples, measuring: Mapping[str, Any], problems: list[str]
) -> tuple[Figures, dict[str, Any]]:
    figures: Figures = {}
    details: dict[str, Any] = {}
    try:
        path = layout.require_lite_file(model_uri)
        model = inspect(path)
        details["inspection"] = model.to_dict()
        figures |= {"size_bytes": float(model.size_bytes), "gzip_bytes": float(model.gzip_bytes)}
        measurement = local.measure(path, **measuring)
        details["latency"] = measurement.to_dict()
        figures |= measurement.figures()
        figures["accuracy"] = _accuracy(path, examples)
    except EdgeError as error:
        problems.append(f"the {role} could not be evaluated: {error}")
    return figures, details


def _accuracy(path: Path, examples: Examples) -> float:
    labels: list[np.ndarray] = []

    def features() -> Iterator[dict[str, np.ndarray]]:
        for batch, batch_labels in examples():
            labels.append(np.asarray(batch_labels))
            yield batch

    scores = [next(iter(outputs.values())) for outputs in local.infer(path, features())]
    if not scores:
        return accuracy(np.zeros((0,), np.int64), np.zeros((0, 2), np.float32))
    return accuracy(np.concatenate(labels), np.concatenate(scores))


def _line(role: str, figures: Figures) -> str:
    def show(name: str, text: str) -> str:
        value = figures.get(name)
        return f"{text} unknown" if value is None else f"{text} {value:,.4g}"

    return f"{role}: " + ", ".join(
        (show("size_bytes", "bytes"), show("latency_p50_ms", "p50 ms"), show("accuracy", "accuracy"))
    )
