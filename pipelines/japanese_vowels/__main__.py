"""Runs the task's pipeline: ``python -m tfx_edge.pipelines.japanese_vowels``."""

import sys

from tfx_edge.pipelines.run import main

if __name__ == "__main__":
    sys.exit(main(["japanese_vowels", *sys.argv[1:]]))
