"""Runs the task's pipeline: ``python -m tfx_edge.pipelines.spoken_words``."""

import sys

from tfx_edge.pipelines.run import main

if __name__ == "__main__":
    sys.exit(main(["spoken_words", *sys.argv[1:]]))
