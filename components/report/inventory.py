"""What a model is made of and what made it, as rows of text for the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfx_edge.report.document import number, rows, table
from tfx_edge.report.numbers import amount, plain

Report = Mapping[str, Any]
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Operator:
    """One kind of operator; ``share`` is its percentage of the time of all, None where it was not timed."""

    name: str
    count: str
    dtype: str
    time: str
    share: float | None


@dataclass(frozen=True)
class Inventory:
    """A model's operators, the slowest first, its constants by type, and what else its file tells."""

    role: str
    operators: tuple[Operator, ...]
    timed: bool
    constants: tuple[tuple[str, str, float], ...]
    facts: Pairs


@dataclass(frozen=True)
class Step:
    """One step of the model's making."""

    component: str
    recipe: Pairs
    result: Pairs


def inventories(report: Report) -> list[Inventory]:
    """Of the candidate and of the baseline, as far as they are known."""
    found = []
    for role in ("candidate", "baseline"):
        inspection = table(report, "inspection", role)
        operators = rows(report, "operators", role) or _inspected(inspection)
        if operators or inspection:
            timed = any(number(row.get("time_ms")) is not None for row in operators)
            found.append(Inventory(role, _operators(operators), timed, _constants(inspection), _facts(inspection)))
    return found


def steps(report: Report) -> list[Step]:
    """The recipes that led to the candidate, oldest first."""
    return [
        Step(str(row.get("component") or "step"), flat(table(row, "recipe")), flat(table(row, "result")))
        for row in rows(report, "steps")
    ]


def flat(data: Mapping[str, Any], prefix: str = "") -> Pairs:
    """Names and values of an object, those of objects inside it by their path."""
    pairs: Pairs = []
    for name, value in data.items():
        if isinstance(value, Mapping) and value:
            pairs += flat(value, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", plain(value)))
    return pairs


def _operators(data: list[dict[str, Any]]) -> tuple[Operator, ...]:
    times = [number(row.get("time_ms")) for row in data]
    whole = sum(time for time in times if time is not None)
    ordered = sorted(zip(data, times, strict=True), key=lambda each: -(each[1] or 0))
    return tuple(
        Operator(
            name=str(row.get("name")),
            count=plain(row.get("count")),
            dtype=str(row.get("dtype") or ""),
            time="" if time is None else amount("time_ms", time),
            share=time / whole * 100 if time is not None and whole > 0 else None,
        )
        for row, time in ordered
    )


def _inspected(inspection: Report) -> list[dict[str, Any]]:
    """The operators as the inspection lists them, when none were timed."""
    return [
        {"name": row.get("name"), "count": row.get("count"), "dtype": plain(row.get("outputs"))}
        for subgraph in rows(inspection, "subgraphs")
        for row in rows(subgraph, "ops")
    ]


def _constants(inspection: Report) -> tuple[tuple[str, str, float], ...]:
    sizes = {name: number(size) or 0.0 for name, size in table(inspection, "weight_bytes_by_dtype").items()}
    most = max(sizes.values(), default=0.0) or 1.0
    ordered = sorted(sizes.items(), key=lambda each: -each[1])
    return tuple((name, amount("size_bytes", size), size / most * 100) for name, size in ordered)


def _facts(inspection: Report) -> Pairs:
    if not inspection:
        return []
    sparsity = number(inspection.get("sparsity"))
    return [
        ("precision", str(inspection.get("precision") or "unknown")),
        ("inputs", _tensors(inspection, "inputs")),
        ("outputs", _tensors(inspection, "outputs")),
        ("zero weights", "unknown" if sparsity is None else f"{sparsity:.1%}"),
        ("float islands", _names(inspection, "float_islands")),
        ("Flex ops", _names(inspection, "flex_ops")),
        ("custom ops", _names(inspection, "custom_ops")),
        ("made by", str(inspection.get("description") or "unknown")),
        ("sha256", str(inspection.get("sha256") or "unknown")),
    ]


def _tensors(inspection: Report, side: str) -> str:
    return "; ".join(
        f"{row.get('name')} {row.get('dtype')} {_shape(row.get('shape'))}" for row in rows(inspection, side)
    )


def _shape(shape: Any) -> str:
    return ("×".join(map(plain, shape)) or "scalar") if isinstance(shape, list) else "of unknown shape"


def _names(inspection: Report, key: str) -> str:
    """Operators by name; an island by the names of its operators."""
    return ", ".join(str(row.get("name") or plain(row.get("ops"))) for row in rows(inspection, key)) or "none"
