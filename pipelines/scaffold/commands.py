"""``tfx-edge init``: the argument parser; the work is in `tfx_edge.pipelines.scaffold.project`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def register(commands: Any, verbose: argparse.ArgumentParser) -> None:
    """Adds the command to those of ``tfx-edge``.

    Args:
      commands: what ``add_subparsers`` returned.
      verbose: the parser with the options that all commands have.
    """
    command = commands.add_parser("init", parents=[verbose], help="start a pipeline project that runs at once")
    command.add_argument("folder", type=Path, metavar="FOLDER", help="where to make it: a new folder, or an empty one")
    command.add_argument("--name", help="of the pipeline (default: after the folder)")
    command.set_defaults(run=_init)


def _init(options: argparse.Namespace) -> str:
    import shlex

    from tfx_edge.pipelines.scaffold.project import create

    name = create(options.folder, options.name)
    folder = shlex.quote(str(options.folder))
    return f"made the pipeline {name!r} in {folder}; run it: cd {folder} && python run_local.py"
