"""Runs the task's pipeline: ``python -m tfx_edge.pipelines.next_character``."""

import sys

from tfx_edge.pipelines.run import main

if __name__ == "__main__":
    sys.exit(main(["next_character", *sys.argv[1:]]))
