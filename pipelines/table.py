"""A table of every preset of every task: ``python -m tfx_edge.pipelines.table [task …] [--run]``; ``make table``.

The figures are those of the EdgeReports that the tasks' pipelines left in ML Metadata. Those in brackets are one-sided
bounds, each at the evaluator's confidence.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfx_edge.errors import EdgeError
from tfx_edge.gate.estimate import Estimate
from tfx_edge.pipelines import run, task
from tfx_edge.pipelines.task import BASELINE, Task
from tfx_edge.report import document

COLUMNS = (
    "preset", "bytes", "gzip", "of float", "p50 ms", "least ms", "{metric}", "drop", "float islands", "float operators",
    "verdict",
)  # fmt: skip
_FAILED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 when every task has its figures, 1 when one does not."""
    parser = argparse.ArgumentParser(prog="python -m tfx_edge.pipelines.table", description=__doc__)
    parser.add_argument("tasks", nargs="*", metavar="task", help="all when none is named")
    parser.add_argument("--root", type=Path, default=run.ROOT, help="where the tasks' pipelines keep everything")
    parser.add_argument("--run", action="store_true", help="first run the pipelines; what did not change is not redone")
    options = parser.parse_args(arguments)
    try:
        tasks = [task.load(name) for name in options.tasks or task.names()]
    except EdgeError as error:
        parser.error(str(error))
    failed = []
    for each in tasks:
        root = options.root / each.name
        if options.run and _run(each, root) == _FAILED:
            failed.append(each.name)
            print(f"**The pipeline failed, so what follows is what it left; see {root / 'log.txt'}.**\n")
        print(markdown(each, root), flush=True)
    return 1 if failed or not all(reports(each, options.root / each.name) for each in tasks) else 0


def markdown(of: Task, root: Path) -> str:
    """The table of a task, below a heading.

    Args:
      of: the task.
      root: of its pipeline.
    """
    found = reports(of, root)
    if not found:
        return f"### {of.title}\n\nNot run: `python -m tfx_edge.pipelines.run {of.name}`\n"
    columns = [column.format(metric=of.metric) for column in COLUMNS]
    rows = [_row(of, name, found) for name in of.variants]
    rule = ["---", *["---:"] * (len(columns) - 2), "---"]
    lines = ["| " + " | ".join(cells) + " |" for cells in (columns, rule, *rows)]
    return f"### {of.title}\n\n{_conditions(next(iter(found.values())))}\n\n" + "\n".join(lines) + "\n"


def reports(of: Task, root: Path) -> dict[str, dict[str, Any]]:
    """The newest report of each variant that has one."""
    metadata = root / "metadata" / "metadata.db"
    if not metadata.is_file():
        return {}
    from tfx_edge.lineage.store import Store

    store = Store(metadata)
    artifacts = {name: store.newest_output(f"EdgeEvaluator.{name}", "tfx_edge.EdgeReport") for name in of.variants}
    return {name: document.load(Path(artifact["uri"])) for name, artifact in artifacts.items() if artifact}


def _run(each: Task, root: Path) -> int:
    """Runs a task's pipeline in a process of its own; the exit status of `tfx_edge.pipelines.run`."""
    command = [sys.executable, "-m", "tfx_edge.pipelines.run", each.name, "--root", str(root)]
    print(f"{each.name}:", file=sys.stderr, flush=True)
    return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode


def _conditions(report: Mapping[str, Any]) -> str:
    """What the figures hold for."""
    environment = document.table(report, "targets", "local", "environment")
    examples = document.table(report, "quality").get("examples")
    where = ", ".join(str(environment[key]) for key in ("processor", "kernel") if environment.get(key))
    return f"{examples:,} examples evaluated; one thread of {where}"


def _row(of: Task, name: str, found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    title, report = name.replace("_", " "), found.get(name)
    missing = f"not made: {of.inapplicable[name]}" if name in of.inapplicable else _outdated(name, found)
    if missing or report is None:
        return [title, *[""] * (len(COLUMNS) - 2), missing or "not run"]

    def figure(metric: str) -> Estimate | None:
        return document.figure(report, "candidate", metric, "local")

    inspected = document.table(report, "inspection", "candidate")
    size, whole = figure("size_bytes"), document.figure(report, "baseline", "size_bytes", "local")
    drop = document.estimate(document.table(report, "quality", "metrics", of.metric).get("drop"))
    return [
        title,
        _exactly(size),
        _exactly(figure("gzip_bytes")),
        f"{size.value / whole.value:.3f}" if size and whole else "1" if name == BASELINE else "",
        _between(figure("latency_p50_ms"), ".3g"),
        _between(figure("latency_min_ms"), ".3g"),
        _between(figure(of.metric), ".4f"),
        _between(drop, ".4f"),
        str(len(inspected.get("float_islands", ()))),
        str(sum(group["count"] for group in inspected.get("float_ops", ()))),
        _verdict(document.table(report, "verdict")),
    ]


def _outdated(name: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    """Why the figures are not to be shown beside the float model's: they were taken against an earlier one."""
    if name == BASELINE or not {name, BASELINE} <= found.keys():
        return ""
    against, now = (
        document.table(found[each], "inspection", role).get("sha256")
        for each, role in ((name, "baseline"), (BASELINE, "candidate"))
    )
    return "" if against == now else "not run on the present float model"


def _exactly(estimate: Estimate | None) -> str:
    return f"{estimate.value:,.0f}" if estimate else ""


def _between(estimate: Estimate | None, form: str) -> str:
    if estimate is None:
        return ""
    return f"{estimate.value:{form}} ({estimate.low:{form}} to {estimate.high:{form}})"


def _verdict(verdict: Mapping[str, Any]) -> str:
    if verdict.get("blessed") is True:
        return "blessed"
    return f"not blessed: {verdict.get('reason', 'no reason given')}".replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
