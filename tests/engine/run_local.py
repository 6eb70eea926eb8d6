"""Runs a compiled pipeline in containers, by Kubeflow's local runner: of the runner's environment, not of TFX's.

As a program: ``run_local.py PIPELINE.yaml ROOT [PARAMETERS] [OPTIONS]``, the last two as JSON; options are those of
docker-py's ``containers.run``.
"""

import json
import os
import sys

from kfp import components, local


def main(package: str, root: str, parameters: str = "{}", options: str = "{}") -> None:
    os.umask(0)  # tasks run as another user, in folders that are made here
    local.init(local.DockerRunner(network_mode="none", **json.loads(options)), pipeline_root=root)
    components.load_component_from_file(package)(**json.loads(parameters))


if __name__ == "__main__":
    main(*sys.argv[1:])
