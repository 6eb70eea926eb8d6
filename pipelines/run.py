"""Runs the pipeline of a task: ``python -m tfx_edge.pipelines.run TASK``, or ``python -m tfx_edge.pipelines.TASK``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_edge.errors import EdgeError
from tfx_edge.pipelines import quiet_run, task

if TYPE_CHECKING:
    from tfx_edge.report.summary import Summary

ROOT = Path("build/tasks")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 when the chosen variant was blessed and pushed, 1 when not, 2 when the pipeline failed."""
    parser = argparse.ArgumentParser(prog="python -m tfx_edge.pipelines.run", description=__doc__)
    parser.add_argument("task", help="a package below tfx_edge.pipelines")
    parser.add_argument("--root", type=Path, help=f"where everything is kept; {ROOT}/TASK when it is not given")
    parser.add_argument("--only", nargs="+", metavar="PRESET", default=[], help="presets to make; all without it")
    parser.add_argument("--epochs", type=int, help="of all training, instead of the task's own")
    parser.add_argument("-v", "--verbose", action="store_true", help="show everything that TFX and TensorFlow print")
    options = parser.parse_args(arguments)
    try:
        chosen = task.load(options.task)
    except EdgeError as error:
        parser.error(str(error))
    for name in options.only:
        if name not in chosen.variants or name in chosen.inapplicable:
            reason = chosen.inapplicable.get(name, f"there are {', '.join(chosen.variants)}")
            parser.error(f"--only: {name!r} cannot be made of {chosen.name}: {reason}")
    root = (options.root or ROOT / chosen.name).resolve()

    def create() -> Any:
        from tfx_edge.pipelines import presets

        chosen.write_examples(root / "data")
        return presets.create(chosen, root, only=tuple(options.only), epochs=options.epochs)

    def summarize(metadata: Path) -> Summary:
        from tfx_edge.lineage.store import Store
        from tfx_edge.pipelines import table
        from tfx_edge.report.summary import Summary

        pushes = not options.only or chosen.pushed in options.only
        push = Store(metadata).newest_output("Pusher", "PushedModel") if pushes else {}
        pushed = Path(push["pushed_destination"], "tflite") if push.get("pushed") else None
        end = f"pushed: {pushed}" if pushed else "nothing was pushed"
        return Summary(f"{table.markdown(chosen, root)}\n{end}", pushed)

    return quiet_run.run(root, create, summarize, verbose=options.verbose)


if __name__ == "__main__":
    sys.exit(main())
