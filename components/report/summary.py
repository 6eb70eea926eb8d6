"""The table at the end of a run: each variant's figures and verdict, read from ML Metadata."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Summary:
    """What a run came to.

    Attributes:
      text: the table, the verdict and where the pushed file lies.
      pushed: the pushed ``.tflite``, or None when nothing was pushed.
    """

    text: str
    pushed: Path | None


def summarize(metadata: Path, variants: Mapping[str, str]) -> Summary:
    """Reads the newest reports of ``EdgeEvaluator.<variant>`` and the newest push.

    Args:
      metadata: the SQLite file of ML Metadata.
      variants: variant name, as in the evaluator's id, to what people call it; the last one is pushed.
    """
    from rich import box, table

    from tfx_edge.lineage.store import Store

    store = Store(metadata)
    rows = table.Table(box=box.SIMPLE_HEAD)
    for column in ("model", "bytes", "gzip", "p50 ms", "p90 ms", "accuracy", "verdict"):
        rows.add_column(column, justify="left" if column in ("model", "verdict") else "right", overflow="fold")
    reasons, page = [], None
    for variant, title in variants.items():
        report = store.newest_output(f"EdgeEvaluator.{variant}", "tfx_edge.EdgeReport")
        rows.add_row(
            title,
            *_shown(report, "{:,.0f}", "size_bytes", "gzip_bytes"),
            *_shown(report, "{:.4f}", "latency_p50_ms", "latency_p90_ms", "accuracy"),
            "blessed" if report.get("blessed") else "not blessed",
        )
        page = Path(report["uri"], "report.html") if report else None
        if not report.get("blessed"):
            reasons.append(f"{title}: not blessed: {report.get('reason', 'no report')}")
            reasons += [f"    what to try: {report['remedy']}"] if report.get("remedy") else []
    push = store.newest_output("Pusher", "PushedModel")
    pushed = Path(push["pushed_destination"], "tflite") if push.get("pushed") else None
    lines = [*reasons, f"report: {page}", f"pushed: {pushed}" if pushed else "nothing was pushed"]
    return Summary(_render(rows) + "\n".join(lines), pushed)


def _shown(report: Mapping[str, Any], form: str, *names: str) -> list[str]:
    return [form.format(report[name]) if name in report else "-" for name in names]


def _render(rows: Any) -> str:
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=120).print(rows)
    return stream.getvalue()
