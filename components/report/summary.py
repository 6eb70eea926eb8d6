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
    import ml_metadata
    from ml_metadata.proto import metadata_store_pb2
    from rich import box, table

    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(metadata)
    config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    store = ml_metadata.MetadataStore(config)
    rows = table.Table(box=box.SIMPLE_HEAD)
    for column in ("model", "bytes", "gzip", "p50 ms", "p90 ms", "accuracy", "verdict"):
        rows.add_column(column, justify="left" if column in ("model", "verdict") else "right", overflow="fold")
    report: dict[str, Any] = {}
    for variant, title in variants.items():
        report = _newest(store, f"EdgeEvaluator.{variant}", "tfx_edge.EdgeReport")
        rows.add_row(
            title,
            *(f"{report[name]:,.0f}" if name in report else "-" for name in ("size_bytes", "gzip_bytes")),
            *(
                f"{report[name]:.4f}" if name in report else "-"
                for name in ("latency_p50_ms", "latency_p90_ms", "accuracy")
            ),
            "blessed" if report.get("blessed") else f"not blessed: {report.get('reason', 'no report')}",
        )
    push = _newest(store, "Pusher", "PushedModel")
    pushed = Path(push["pushed_destination"], "tflite") if push.get("pushed") else None
    ending = f"pushed: {pushed}" if pushed else f"nothing was pushed: not blessed: {report.get('reason', 'no report')}"
    return Summary(f"{_render(rows)}{ending}", pushed)


def _render(rows: Any) -> str:
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=120).print(rows)
    return stream.getvalue()


def _newest(store: Any, node_id: str, artifact_type: str) -> dict[str, Any]:
    """Custom properties of the newest artifact of a type that a node put out."""
    contexts = [context for context in store.get_contexts_by_type("node") if context.name.endswith(f".{node_id}")]
    executions = [execution for context in contexts for execution in store.get_executions_by_context(context.id)]
    if not executions:
        return {}
    newest = max(executions, key=lambda execution: execution.id)
    events = store.get_events_by_execution_ids([newest.id])
    artifacts = store.get_artifacts_by_id([event.artifact_id for event in events])
    for artifact in artifacts:
        if artifact.type == artifact_type:
            return {
                name: getattr(value, value.WhichOneof("value")) for name, value in artifact.custom_properties.items()
            }
    return {}
