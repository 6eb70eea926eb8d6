"""Shows evaluations run after run: as a table, as JSON, as a picture."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from tfx_edge.errors import ConfigError
from tfx_edge.lineage.history import Entry, short_name
from tfx_edge.report import numbers
from tfx_edge.report.axis import Axis
from tfx_edge.report.inspection import printable
from tfx_edge.report.plots import Tick, ticks
from tfx_edge.report.templates import environment

WIDTH = 100
_USUAL = ("size_bytes", "gzip_bytes", "latency_p50_ms", "accuracy")
_LEFT, _RIGHT, _PANEL = 70, 740, 150


@dataclass(frozen=True)
class Dot:
    """One evaluation in a panel, in pixels."""

    x: float
    y: float
    low: float
    high: float
    blessed: bool
    text: str


@dataclass(frozen=True)
class Line:
    """The evaluations of one node in a panel; ``style`` numbers its colour and dashes."""

    node: str
    style: int
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Panel:
    """One metric over the runs."""

    title: str
    ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]


def choose_metrics(entries: Sequence[Entry], asked: Sequence[str] = ()) -> list[str]:
    """The metrics to show: those asked for, else size, gzip, median latency and quality as far as there are figures.

    Raises:
      ConfigError: no evaluation has a figure for a metric asked for.
    """
    known = {name for entry in entries for name in entry.figures}
    known -= {f"{name}_{side}" for name in known for side in ("low", "high")}
    unknown = [name for name in asked if name not in known]
    if unknown:
        have = ", ".join(sorted(known)) or "none"
        raise ConfigError(f"no evaluation has a figure for {', '.join(unknown)}; the metrics there are: {have}")
    if asked:
        return list(dict.fromkeys(asked))
    usual = [name for name in _USUAL if name in known]
    others = sorted(name for name in known if not name.endswith(("_bytes", "_ms")) and name not in usual)
    return usual if "accuracy" in usual else usual + others[:1]


def to_json(entries: Sequence[Entry]) -> str:
    """Every field of the evaluations and every figure, oldest first."""
    return json.dumps([asdict(entry) for entry in entries], indent=2)


def to_text(entries: Sequence[Entry], metrics: Sequence[str]) -> str:
    """A table of at most 100 columns, oldest first, and below it why models were not blessed."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("id", "time (UTC)", "evaluator", "sha256"):
        table.add_column(column, overflow="fold", no_wrap=column in ("id", "sha256"))
    for metric in metrics:
        table.add_column(numbers.title(metric), justify="right", overflow="fold")
    table.add_column("blessed")
    names = _names(entries)
    for entry in entries:
        texts = [numbers.amount(name, entry.figures[name]) if name in entry.figures else "-" for name in metrics]
        time = entry.time[:16].replace("T", " ")
        sha256 = (entry.sha256 or "-")[:8]
        row = (
            str(entry.execution_id),
            time,
            names[entry.execution_id],
            sha256,
            *texts,
            "yes" if entry.blessed else "no",
        )
        table.add_row(*map(printable, row))
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, markup=False, highlight=False, emoji=False)
    console.print(table)
    for entry in entries:
        if not entry.blessed:
            console.print(printable(f"{entry.execution_id} not blessed: {entry.reason or 'no reason recorded'}"))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in lines)


def to_svg(entries: Sequence[Entry], metrics: Sequence[str]) -> str:
    """A picture with a panel for each metric: runs from left to right, a line for each evaluator.

    A full dot is a blessed model, a cross one that was not blessed; a bar is the interval where it was recorded.
    """
    names = _names(entries)
    nodes = list(dict.fromkeys(names[entry.execution_id] for entry in entries))
    runs = list(dict.fromkeys(_run(entry) for entry in entries))
    axis = Axis.around([0, len(runs) - 1], _LEFT, _RIGHT, margin=0.04)
    places = {run: axis.at(index) for index, run in enumerate(runs)}
    panels = [_panel(metric, entries, names, nodes, places) for metric in metrics]
    starts = {_run(entry): entry.time for entry in reversed(entries)}
    marked = runs[:: -(-len(runs) // 6)]
    days = [starts[run][:10] for run in marked]
    if len(set(days)) < len(days):
        days = [starts[run][5:16].replace("T", " ") for run in marked]
    return (
        environment()
        .get_template("history.svg.j2")
        .render(
            panels=panels,
            nodes=nodes,
            times=[Tick(places[run], days[index]) for index, run in enumerate(marked)],
            left=_LEFT,
            right=_RIGHT,
            panel=_PANEL,
        )
    )


def _panel(
    metric: str, entries: Sequence[Entry], names: dict[int, str], nodes: Sequence[str], places: dict[str, float]
) -> Panel:
    shown = [entry for entry in entries if metric in entry.figures]
    bounds = {
        entry.execution_id: tuple(
            entry.figures.get(f"{metric}_{side}", entry.figures[metric]) for side in ("low", "high")
        )
        for entry in shown
    }
    values = [value for entry in shown for value in (entry.figures[metric], *bounds[entry.execution_id])]
    axis = Axis.around(values, _PANEL - 8, 26, margin=0.08)

    def dot(entry: Entry) -> Dot:
        low, high = bounds[entry.execution_id]
        value = entry.figures[metric]
        text = f"{names[entry.execution_id]}, {entry.time[:16]}: {numbers.amount(metric, value)}"
        return Dot(places[_run(entry)], axis.at(value), axis.at(low), axis.at(high), entry.blessed, text)

    lines = [
        Line(node, style % 6, tuple(dot(entry) for entry in shown if names[entry.execution_id] == node))
        for style, node in enumerate(nodes)
    ]
    return Panel(numbers.title(metric), ticks(axis, metric, most=4), tuple(lines))


def _names(entries: Sequence[Entry]) -> dict[int, str]:
    """What the evaluators are called by execution; with their pipeline where there are several."""
    several = len({entry.pipeline for entry in entries}) > 1
    prefixes = {entry.execution_id: f"{entry.pipeline}/" if several else "" for entry in entries}
    return {entry.execution_id: printable(prefixes[entry.execution_id] + short_name(entry.node)) for entry in entries}


def _run(entry: Entry) -> str:
    return f"{entry.pipeline}/{entry.run}" if entry.run else str(entry.execution_id)
