"""Runs the task's pipeline: ``python -m tfx_edge.pipelines.fashion_mnist``."""

import sys

from tfx_edge.pipelines.run import main

if __name__ == "__main__":
    sys.exit(main(["fashion_mnist", *sys.argv[1:]]))
