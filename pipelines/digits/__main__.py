"""Runs the digits pipeline: ``python -m tfx_edge.pipelines.digits``."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

from tfx_edge.errors import EdgeError
from tfx_edge.report.quiet import quiet_output


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
    started = time.monotonic()
    with quiet_output(None if options.verbose else root / "log.txt") as say:
        try:
            say("importing TFX (half a minute on a small machine)")
            from tfx.orchestration.local.local_dag_runner import LocalDagRunner

            from tfx_edge.pipelines.digits import data, pipeline
            from tfx_edge.report.summary import summarize

            data.write_examples(root / "data")
            (root / "metadata").mkdir(parents=True, exist_ok=True)
            LocalDagRunner().run(pipeline.create(root, thresholds, options.epochs))
            summary = summarize(root / "metadata" / "metadata.db", pipeline.VARIANTS)
        except EdgeError as error:
            say(f"error: {error}")
            return 2
        except Exception as error:
            logging.getLogger(__name__).exception("the pipeline failed")
            say(f"error: {error}; everything that was printed is in {root / 'log.txt'}")
            return 2
        say(f"done in {time.monotonic() - started:.0f} s")
    print(summary.text)
    return 0 if summary.pushed else 1


if __name__ == "__main__":
    sys.exit(main())
