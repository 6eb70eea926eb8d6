"""A task of a compiled pipeline as Kubeflow's launcher starts it: the container's command and its ExecutorInput.

Source: ``backend/src/v2/component/launcher_v2.go`` and ``backend/src/v2/driver`` in kubeflow/pipelines.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def executor_input(
    spec: dict[str, Any], task: str, inputs: dict[str, str], root: str, folder: Path, **parameters: Any
) -> dict[str, Any]:
    """What the launcher puts in place of ``{{$}}``.

    Args:
      spec: the pipeline's spec.
      task: the task's name.
      inputs: the uri of each input artifact.
      root: below it are the uris of outputs.
      folder: of the files that the task writes for the launcher.
      **parameters: values of parameters that are not constants.
    """
    component = spec["components"][spec["root"]["dag"]["tasks"][task]["componentRef"]["name"]]
    constants = {
        name: source["runtimeValue"]["constant"]
        for name, source in spec["root"]["dag"]["tasks"][task]["inputs"].get("parameters", {}).items()
        if "runtimeValue" in source
    }
    definitions = component["outputDefinitions"]
    outputs = {
        name: {"artifacts": [{"uri": f"{root}/{task}/{name}", "name": "", "type": definition["artifactType"]}]}
        for name, definition in definitions["artifacts"].items()
    }
    outputs["executor-logs"] = {
        "artifacts": [{"uri": f"{root}/{task}/executor-logs", "type": {"schemaTitle": "system.Artifact"}}]
    }
    return {
        "inputs": {
            "parameterValues": {**constants, **parameters},
            "artifacts": {
                name: {"artifacts": [{"name": str(number), "uri": uri, "type": {"instanceSchema": ""}}]}
                for number, (name, uri) in enumerate(inputs.items(), 1)
            },
        },
        "outputs": {
            "artifacts": outputs,
            "parameters": {name: {"outputFile": str(folder / name)} for name in definitions.get("parameters", {})},
            "outputFile": str(folder / "output_metadata.json"),
        },
    }


def command(spec: dict[str, Any], task: str, given: dict[str, Any]) -> list[str]:
    """The container's command line."""
    label = spec["components"][spec["root"]["dag"]["tasks"][task]["componentRef"]["name"]]["executorLabel"]
    container = spec["deploymentSpec"]["executors"][label]["container"]
    words = [*container["command"], *container.get("args", [])]
    return [json.dumps(given) if word == "{{$}}" else word for word in words]
