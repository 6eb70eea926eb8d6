"""Runs a pipeline for a person: what TFX prints goes to a file, and what it came to, to the terminal."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_edge.errors import EdgeError
from tfx_edge.report.quiet import quiet_output

if TYPE_CHECKING:
    from tfx_edge.report.summary import Summary


def run(root: Path, create: Callable[[], Any], summarize: Callable[[Path], Summary], *, verbose: bool) -> int:
    """Runs the pipeline and prints what its evaluators found.

    Args:
      root: holds ``metadata/metadata.db``; ``log.txt`` is written there.
      create: writes the data and builds the pipeline. It is called when TFX may be imported.
      summarize: reads that database after the run.
      verbose: show all that TFX and TensorFlow print.

    Returns:
      An exit status: 0 when a model was pushed, 1 when none was, 2 when the pipeline failed.
    """
    started = time.monotonic()
    with quiet_output(None if verbose else root / "log.txt") as say:
        try:
            say("importing TFX (half a minute on a small machine)")
            from tfx.orchestration.local.local_dag_runner import LocalDagRunner

            pipeline = create()
            (root / "metadata").mkdir(parents=True, exist_ok=True)
            LocalDagRunner().run(pipeline)
            summary = summarize(root / "metadata" / "metadata.db")
        except EdgeError as error:
            say(f"error: {error}")
            return 2
        except Exception as error:
            logging.getLogger(__name__).exception("the pipeline failed")
            say(f"error: {error}" + ("" if verbose else f"; everything that was printed is in {root / 'log.txt'}"))
            return 2
        say(f"done in {time.monotonic() - started:.0f} s")
    print(summary.text)
    return 0 if summary.pushed else 1
