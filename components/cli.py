"""The ``tfx-edge`` command: asks a ``.tflite`` what it is, ML Metadata where it came from and how models did, and
draws reports.

Everything but the argument parser is imported by the subcommand that needs it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfx_edge.arguments import positive
from tfx_edge.errors import ConfigError, EdgeError

PROG = "tfx-edge"
_METADATA_HELP = "the SQLite file of ML Metadata, or mysql://, postgresql:// or grpc:// (default: looked for nearby)"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
      argv: the arguments without the program's name; None takes those of the process.

    Returns:
      0, or 1 after an error that was told on stderr. A wrong usage exits with status 2.
    """
    options = _parser().parse_args(argv, argparse.Namespace(verbose=False))
    if options.verbose:
        import logging

        logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s")
    try:
        print(options.run(options))
        sys.stdout.flush()
    except EdgeError as error:
        if options.verbose:
            import traceback

            traceback.print_exc()
        print(f"{PROG}: error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    verbose = argparse.ArgumentParser(add_help=False)
    verbose.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=argparse.SUPPRESS,
        help="log details, and show where errors arise",
    )
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Starts projects, looks into edge models and their history, and brings pipelines to Kubeflow.",
        parents=[verbose],
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command = commands.add_parser("inspect", parents=[verbose], help="show what is inside a .tflite file")
    command.add_argument("file", type=Path, metavar="FILE.tflite")
    command.add_argument("--json", action="store_true", help="print JSON instead of text")
    command.add_argument("--layers", action="store_true", help="list the layers that a recipe's overrides can name")
    command.add_argument(
        "--model-metadata", action="store_true", help="print what the file tells apps: TFLite's model metadata, as JSON"
    )
    command.set_defaults(run=_inspect)

    command = commands.add_parser("lineage", parents=[verbose], help="show what a .tflite file was made of, and how")
    command.add_argument("target", metavar="PATH_OR_SHA256", help="a .tflite file, or the SHA-256 of one")
    command.add_argument("--metadata", metavar="STORE", help=_METADATA_HELP)
    command.add_argument("--json", action="store_true", help="print JSON instead of text")
    command.set_defaults(run=_lineage)

    command = commands.add_parser("history", parents=[verbose], help="show what evaluators found, run after run")
    command.add_argument("--metadata", metavar="STORE", help=_METADATA_HELP)
    command.add_argument(
        "--node", nargs="+", action="extend", default=[], help="only these evaluators, such as EdgeEvaluator.candidate"
    )
    command.add_argument(
        "--metric", nargs="+", action="extend", default=[], help="figures to show (default: size, latency, quality)"
    )
    command.add_argument("--last", type=positive, metavar="N", help="only the newest N evaluations")
    command.add_argument("--json", action="store_true", help="print JSON, with all figures, instead of text")
    command.add_argument("--plot", type=Path, metavar="FILE.svg", help="also draw the figures into this file")
    command.set_defaults(run=_history)

    command = commands.add_parser("verdict", parents=[verbose], help="tell, also by the exit status, what a gate said")
    command.add_argument(
        "gate",
        metavar="NODE",
        nargs="?",
        help="the evaluator's id, such as EdgeEvaluator.int8, where there are several",
    )
    command.add_argument("--pipeline", metavar="NAME", help="where several pipelines have such a node")
    command.add_argument(
        "--run",
        dest="pipeline_run",
        metavar="RUN",
        help="the verdict in this run, which may still be at work (default: the newest run)",
    )
    command.add_argument("--metadata", metavar="STORE", help=_METADATA_HELP)
    command.set_defaults(run=_verdict)

    command = commands.add_parser("report", parents=[verbose], help="draw reports of evaluators as one HTML page")
    command.add_argument(
        "reports",
        type=Path,
        nargs="+",
        metavar="REPORT",
        help="a report.json or the folder it is in; the first is the judged model, the others are drawn beside it",
    )
    command.add_argument("-o", "--output", type=Path, default=Path("report.html"), metavar="PAGE.html")
    command.set_defaults(run=_report)

    from tfx_edge.kubeflow import commands as kubeflow
    from tfx_edge.pipelines.scaffold import commands as scaffold

    scaffold.register(commands, verbose)
    kubeflow.register(commands, verbose)
    return parser


def _inspect(options: argparse.Namespace) -> str:
    if options.layers:
        return _layers(options)
    import json

    if options.model_metadata:
        from tfx_edge.model_metadata.metadata import read_metadata

        return json.dumps(read_metadata(options.file), indent=2, ensure_ascii=False)
    from tfx_edge.lite.inspect import inspect

    model = inspect(options.file)
    if options.json:
        return json.dumps(model.to_dict(), indent=2)
    from tfx_edge.report.inspection import to_text

    return to_text(model)


def _layers(options: argparse.Namespace) -> str:
    from tfx_edge.lite.layers import layers

    found = layers(options.file)
    if options.json:
        import dataclasses
        import json

        return json.dumps([dataclasses.asdict(layer) for layer in found], indent=2)
    from tfx_edge.report.inspection import layers_to_text

    return layers_to_text(found)


def _lineage(options: argparse.Namespace) -> str:
    from tfx_edge.lineage.connection import find_metadata
    from tfx_edge.lineage.render import to_json, to_text
    from tfx_edge.lineage.trace import trace

    lineage = trace(options.target, find_metadata(options.metadata, options.target))
    return to_json(lineage) if options.json else to_text(lineage)


def _history(options: argparse.Namespace) -> str:
    from tfx_edge.lineage.connection import find_metadata
    from tfx_edge.lineage.history import read
    from tfx_edge.report.history import choose_metrics, to_json, to_svg, to_text

    if options.plot and options.plot.suffix.lower() != ".svg":
        raise ConfigError(
            f"--plot is {str(options.plot)!r}, but pictures are drawn as SVG; name a file that ends in .svg"
        )
    entries = read(find_metadata(options.metadata), options.node, options.last)
    metrics = choose_metrics(entries, options.metric)
    if options.plot:
        _write(options.plot, to_svg(entries, metrics))
    if options.json:
        return to_json(entries)
    return to_text(entries, metrics) + (f"\nwrote {options.plot}" if options.plot else "")


def _verdict(options: argparse.Namespace) -> str:
    from tfx_edge.lineage.connection import find_metadata
    from tfx_edge.lineage.newest import newest_verdict

    return newest_verdict(find_metadata(options.metadata), options.gate, options.pipeline, options.pipeline_run)


def _report(options: argparse.Namespace) -> str:
    from tfx_edge.report.document import FILE_NAME, load
    from tfx_edge.report.html import render

    reports = [load(path) for path in options.reports]
    first = options.reports[0] / FILE_NAME if options.reports[0].is_dir() else options.reports[0]
    link = os.path.relpath(first, options.output.parent)
    size = _write(options.output, render(reports, link))
    return f"wrote {options.output} ({size:,} bytes)"


def _write(file: Path, text: str) -> int:
    content = text.encode()
    try:
        file.write_bytes(content)
    except OSError as error:
        raise ConfigError(
            f"cannot write {str(file)!r} ({error.strerror}); name a file in a folder that exists"
        ) from error
    return len(content)


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *unused: Any) -> None:
        from importlib.metadata import version

        print(f"{PROG} {version(PROG)}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
