"""Reads ``report.json``: its schema version is checked, and whatever else is missing or odd counts as absent."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx_edge.errors import ConfigError
from tfx_edge.gate.estimate import Estimate

SCHEMA_VERSION = 2
FILE_NAME = "report.json"


def load(path: Path) -> dict[str, Any]:
    """Reads a report.

    Args:
      path: a ``report.json``, or the EdgeReport artifact's folder that holds one.

    Raises:
      ConfigError: there is no such file, or it is no report of this schema version.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        report = json.loads(file.read_text())
    except OSError as error:
        raise ConfigError(
            f"cannot read {str(file)!r} ({error.strerror}); name a {FILE_NAME} of EdgeEvaluator or the folder it is in"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{str(file)!r} is not JSON ({error}); name a {FILE_NAME} of EdgeEvaluator") from error
    version = report.get("schema_version") if isinstance(report, dict) else None
    if version != SCHEMA_VERSION or not isinstance(report.get("verdict"), dict):
        raise ConfigError(
            f"{str(file)!r} is no report of schema version {SCHEMA_VERSION} but of {version!r}; "
            "evaluate the model again, or use the tfx-edge that wrote it"
        )
    return report


def table(data: Any, *keys: str) -> dict[str, Any]:
    """The JSON object at the end of a path of keys; empty where there is none."""
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return dict(data) if isinstance(data, Mapping) else {}


def rows(data: Any, *keys: str) -> list[dict[str, Any]]:
    """The JSON objects in a list at the end of a path of keys; empty where there is none."""
    found = table(data, *keys[:-1]).get(keys[-1])
    return [dict(row) for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def number(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def estimate(data: Any) -> Estimate | None:
    """An estimate, or None without a finite value; a bound that is missing counts as unknown, so as infinite."""
    fields = table(data)
    value = number(fields.get("value"))
    if value is None:
        return None
    low, high = number(fields.get("low")), number(fields.get("high"))
    unit = fields.get("sample_unit")
    return Estimate(
        value,
        -math.inf if low is None else low,
        math.inf if high is None else high,
        int(number(fields.get("samples")) or 1),
        unit if isinstance(unit, str) else "",
    )


def figure(report: Mapping[str, Any], role: str, metric: str, target: str | None) -> Estimate | None:
    """A metric of the ``"candidate"`` or the ``"baseline"``: on the target, of its quality, or of its file."""
    measured = estimate(table(report, "targets", target or "", role).get(metric))
    quality = estimate(table(report, "quality", "metrics", metric).get(role))
    inspected = number(table(report, "inspection", role).get(metric))
    return measured or quality or (None if inspected is None else Estimate.exact(inspected))
