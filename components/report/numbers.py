"""Writes figures for people, in the units that the names of metrics end with."""

from __future__ import annotations

import json
import math
import re
from functools import partial
from typing import Any

from tfx_edge.gate.estimate import Estimate

_SIGNS = {"min": "≥", "max": "≤", "max_drop": "≤", "max_ratio": "≤"}
_COMPARED = {"max_drop": " drop", "max_ratio": " ratio"}


def amount(metric: str, value: float) -> str:
    """A figure with its unit: ``26.7 kB``, ``2.28 µs``, ``0.9753``."""
    if metric.endswith("_bytes"):
        return _bytes(value)
    if metric.endswith("_ms"):
        return f"{_digits(value * 1000, 4)} µs" if 0 < abs(value) < 0.1 else f"{_digits(value)} ms"
    return _digits(value)


def exact(metric: str, value: float) -> str:
    """A figure in full, where `amount` would round a count of bytes."""
    return f"{value:,.0f} B" if metric.endswith("_bytes") and value.is_integer() else amount(metric, value)


def times(ratio: float) -> str:
    """A ratio: ``0.0780×``."""
    return f"{_digits(ratio, 3)}×"


def compared(metric: str, kind: str, value: float) -> str:
    """What a check of this kind compares: the figure, a drop of it, or a ratio."""
    return times(value) if kind == "max_ratio" else exact(metric, value)


def between(metric: str, kind: str, low: float | None, high: float | None) -> str:
    """An interval, or an empty text for an exact figure; an unknown bound is shown as such."""
    if low is not None and low == high:
        return ""
    texts = ["?" if each is None or not math.isfinite(each) else compared(metric, kind, each) for each in (low, high)]
    return "" if texts == ["?", "?"] else f"{texts[0]} to {texts[1]}"


def spread(metric: str, estimate: Estimate, kind: str = "max") -> str:
    """The interval of an estimate, rounded; empty for an exact one."""
    if estimate.low == estimate.high:
        return ""
    write = times if kind == "max_ratio" else partial(amount, metric)
    low, high = ("?" if math.isinf(each) else write(each) for each in (estimate.low, estimate.high))
    return f"{low} to {high}"


def bound(kind: str, metric: str, limit: Any) -> str:
    """The limit of a check: ``≤ 0.02``; a limit that is no number is written out."""
    if isinstance(limit, (int, float)) and not isinstance(limit, bool):
        text = short(compared(metric, kind, float(limit)))
    else:
        text = "" if limit is None else plain(limit)
    return f"{_SIGNS.get(kind, '')} {text}".strip()


def short(text: str) -> str:
    """A number, perhaps with a unit, without zeros at the end of its decimals: ``0.95`` for ``0.9500``."""
    return re.sub(r"\.(?!\d)", "", re.sub(r"(\.\d*?)0+(?=\D*$)", r"\1", text))


def title(metric: str) -> str:
    """A metric's name for people: ``latency p50`` for ``latency_p50_ms``."""
    return metric.removesuffix("_ms").removesuffix("_bytes").replace("_", " ")


def check_title(metric: str, kind: str) -> str:
    """What a check looks at: ``accuracy``, ``accuracy drop``, ``size ratio``."""
    return title(metric) + _COMPARED.get(kind, "")


def slice_name(key: Any) -> str:
    """The values that make a slice: ``digit=8``; ``overall`` for none."""
    return (
        ", ".join(f"{name}={plain(each)}" for name, each in key.items()) if isinstance(key, dict) and key else "overall"
    )


def plain(value: Any) -> str:
    """Any JSON value in one line."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and not any(isinstance(each, (dict, list)) for each in value):
        return ", ".join(map(plain, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _bytes(value: float) -> str:
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= size:
            return f"{_digits(value / size, 3)} {unit}"
    return f"{value:,.0f} B"


def _digits(value: float, digits: int = 4) -> str:
    """Significant digits without an exponent; four decimals for a fraction, so that columns of them line up."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if digits == 4 and 0.001 <= abs(value) < 1:
        return f"{value:.4f}"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:,.{min(max(decimals, 0), 9)}f}"
