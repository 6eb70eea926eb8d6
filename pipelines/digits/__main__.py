"""Runs the digits pipeline: ``python -m tfx_edge.pipelines.digits``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_edge.pipelines import quiet_run

if TYPE_CHECKING:
    from tfx_edge.report.summary import Summary


def main() -> int:
    """Exit status: 0 when the candidate was blessed and pushed, 1 when not, 2 when the pipeline failed."""
    parser = argparse.ArgumentParser(prog="python -m tfx_edge.pipelines.digits", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("build/digits"), help="where everything is kept")
    parser.add_argument("--max-size-bytes", type=int, default=50_000, help="the largest model that may be pushed")
    parser.add_argument("--min-accuracy", type=float, default=0.95, help="the least accuracy that may be pushed")
    parser.add_argument(
        "--max-accuracy-drop", type=float, default=0.05, help="the largest loss against the float model"
    )
    parser.add_argument("--epochs", type=int, default=20, help="epochs of Trainer and Distiller")
    parser.add_argument("-v", "--verbose", action="store_true", help="show everything that TFX and TensorFlow print")
    options = parser.parse_args()
    root = options.root.resolve()
    thresholds = {
        "size_bytes": {"max": options.max_size_bytes, "max_ratio": 0.35},
        "accuracy": {"min": options.min_accuracy, "max_drop": options.max_accuracy_drop},
        "latency_p50_ms": {"max_ratio": 1.0},
    }

    def create() -> Any:
        from tfx_edge.pipelines.digits import data, pipeline

        data.write_examples(root / "data")
        return pipeline.create(root, thresholds, options.epochs)

    def summarize(metadata: Path) -> Summary:
        from tfx_edge.pipelines.digits import pipeline
        from tfx_edge.report import summary

        return summary.summarize(metadata, pipeline.VARIANTS)

    return quiet_run.run(root, create, summarize, verbose=options.verbose)


if __name__ == "__main__":
    sys.exit(main())
