"""The ``tfx-edge`` command: asks a ``.tflite`` what it is, and ML Metadata where it came from.

Everything but the argument parser is imported by the subcommand that needs it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfx_edge.errors import EdgeError

PROG = "tfx-edge"


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
        prog=PROG, description="Looks into edge models and their history.", parents=[verbose]
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command = commands.add_parser("inspect", parents=[verbose], help="show what is inside a .tflite file")
    command.add_argument("file", type=Path, metavar="FILE.tflite")
    command.add_argument("--json", action="store_true", help="print JSON instead of text")
    command.set_defaults(run=_inspect)

    command = commands.add_parser("lineage", parents=[verbose], help="show what a .tflite file was made of, and how")
    command.add_argument("target", metavar="PATH_OR_SHA256", help="a .tflite file, or the SHA-256 of one")
    command.add_argument(
        "--metadata", type=Path, metavar="DB", help="the SQLite file of ML Metadata (default: looked for nearby)"
    )
    command.add_argument("--json", action="store_true", help="print JSON instead of text")
    command.set_defaults(run=_lineage)
    return parser


def _inspect(options: argparse.Namespace) -> str:
    from tfx_edge.lite.inspect import inspect

    model = inspect(options.file)
    if options.json:
        import json

        return json.dumps(model.to_dict(), indent=2)
    from tfx_edge.report.inspection import to_text

    return to_text(model)


def _lineage(options: argparse.Namespace) -> str:
    from tfx_edge.lineage.render import to_json, to_text
    from tfx_edge.lineage.trace import find_metadata, trace

    lineage = trace(options.target, find_metadata(options.metadata, options.target))
    return to_json(lineage) if options.json else to_text(lineage)


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *unused: Any) -> None:
        from importlib.metadata import version

        print(f"{PROG} {version(PROG)}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
