"""Runs the pipeline on this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_edge.pipelines import quiet_run

if TYPE_CHECKING:
    from tfx_edge.report.summary import Summary

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Exit status: 0 when the model was blessed and pushed, 1 when not, 2 when the pipeline failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=HERE, help="holds data/, and gets everything that is made")
    parser.add_argument("--gate", type=Path, default=HERE / "gate.json", help="what must hold (default: gate.json)")
    parser.add_argument("-v", "--verbose", action="store_true", help="show everything that TFX and TensorFlow print")
    options = parser.parse_args()
    root = options.root.resolve()

    def create() -> Any:
        import pipeline

        return pipeline.create_pipeline(root, options.gate.read_text())

    def summarize(metadata: Path) -> Summary:
        from tfx_edge.report import summary

        return summary.summarize(metadata, {"int8": "int8 after training"})

    return quiet_run.run(root, create, summarize, verbose=options.verbose)


if __name__ == "__main__":
    sys.exit(main())
