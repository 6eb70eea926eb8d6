"""Runs the task's pipeline: ``python -m tfx_edge.pipelines.basic_motions``."""

import sys

from tfx_edge.pipelines.run import main

if __name__ == "__main__":
    sys.exit(main(["basic_motions", *sys.argv[1:]]))
