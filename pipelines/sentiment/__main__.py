"""Runs the task's pipeline: ``python -m tfx_edge.pipelines.sentiment``."""

import sys

from tfx_edge.pipelines.run import main

if __name__ == "__main__":
    sys.exit(main(["sentiment", *sys.argv[1:]]))
