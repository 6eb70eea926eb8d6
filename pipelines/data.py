"""Gets the data of tasks onto this machine: ``python -m tfx_edge.pipelines.data [task …]``; ``make data``."""

from __future__ import annotations

import argparse
import sys

from tfx_edge.errors import EdgeError
from tfx_edge.pipelines import task


def main() -> int:
    """Exit status: 0 when all of it is there, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m tfx_edge.pipelines.data", description=__doc__)
    parser.add_argument("tasks", nargs="*", metavar="task", help="all when none is named")
    status = 0
    for name in parser.parse_args().tasks or task.names():
        try:
            fetch = task.load(name).fetch
            if fetch:
                fetch()
            print(f"{name}: there" if fetch else f"{name}: comes with the dependencies")
        except EdgeError as error:
            print(f"{name}: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
