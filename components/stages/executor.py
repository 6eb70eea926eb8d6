"""Between TFX and the work of a stage: artifacts become a request, and what comes back becomes properties."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, json_utils

from tfx_edge.errors import ModelError
from tfx_edge.stages import child
from tfx_edge.stages.component import package_version

_LONGEST_BYTES = 2000
STATE_DIR_VARIABLE = "TFX_EDGE_STATE_DIR"


class ModelExecutor(base_executor.BaseExecutor):
    """Runs ``WORK`` in a child process and puts what it returns on the output model.

    ``WORK`` names a function ``(request, progress) -> dict`` whose result becomes custom properties: strings stay
    strings, numbers become doubles (an ML Metadata integer ends at 2³¹ - 1 on some stores).
    """

    WORK: str
    COMPONENT: str

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        """Makes the output model; see the component for inputs, outputs and properties."""
        request = make_request(self.COMPONENT, input_dict, output_dict, exec_properties)
        request = dataclasses.replace(request, state_dir=state_dir(self._context))
        properties = child.run(self.WORK, request)
        model = output_dict["edge_model"][0]
        model.set_string_custom_property("component", self.COMPONENT)
        model.set_string_custom_property("tfx_edge_version", package_version())
        for name, value in properties.items():
            set_property(model, name, value)


def make_request(
    component: str, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]
) -> child.Request:
    """What an executor was called with, in the form that its child process takes."""
    for key in ("model", "baseline_model"):
        if input_dict.get(key):
            check_single(input_dict[key], key)
    request = child.Request(
        component,
        inputs={key: [artifact.uri for artifact in artifacts] for key, artifacts in input_dict.items()},
        outputs={key: [artifact.uri for artifact in artifacts] for key, artifacts in output_dict.items()},
        properties=dict(exec_properties),
    )
    examples = list(input_dict.get("examples") or ())
    schema, transform_graph = (next(iter(request.inputs.get(key, ())), None) for key in ("schema", "transform_graph"))
    fn_args = {
        "train_files": _files(examples, "train"),
        "eval_files": _files(examples, "eval"),
        "schema_path": io_utils.get_only_uri_in_dir(schema) if schema else None,
        "transform_graph_path": transform_graph,
        "base_model": (request.inputs.get("model") or request.inputs["models"])[0],
        "custom_config": json.loads(exec_properties.get("custom_config") or "null"),
        "examples": json_utils.dumps(examples),
    }
    payload_format = examples_utils.get_payload_format_string(examples[0]) if examples else ""
    return dataclasses.replace(request, fn_args=fn_args, payload_format=payload_format)


def check_single(models: list[Any], key: str) -> None:
    """Raises ModelError when an input holds several models, and nobody says which of them is meant."""
    if len(models) > 1:
        uris = ", ".join(model.uri for model in models)
        raise ModelError(
            f"{key} holds {len(models)} models ({uris}): give a channel that holds one, such as a component's output, "
            "or that of a Resolver that gives one"
        )


def state_dir(context: base_executor.BaseExecutor.Context | None) -> str:
    """The folder in which a node keeps its state from one execution to the next, or empty where there is none.

    TFX gives every execution a folder of its own below ``<pipeline root>/<node>/.system``; this one lies beside them.
    Where the runner has no such place (Kubeflow), or it is no local folder, the environment variable
    ``TFX_EDGE_STATE_DIR`` can name one in which it lies, such as a mounted volume.
    """
    given = os.environ.get(STATE_DIR_VARIABLE)
    if given:
        return str(Path(given, "tfx_edge"))  # of our own, since old checkpoints in it are deleted
    working = (context.stateful_working_dir if context else None) or ""
    return str(Path(working).parent.parent / "tfx_edge") if working and "://" not in working else ""


def _files(examples: list[Any], split: str) -> list[str]:
    return [
        io_utils.all_files_pattern(artifact_utils.get_split_uri([artifact], split))
        for artifact in examples
        if split in artifact_utils.decode_split_names(artifact.split_names)
    ]


def set_property(artifact: Any, name: str, value: Any) -> None:
    """Puts a custom property on an artifact; None is left out, and so is what a store of ML Metadata refuses.

    ML Metadata takes no number that is not finite. On PostgreSQL it indexes texts, which end at 2.7 KB, and sends
    backslashes in broken SQL.
    """
    if isinstance(value, str):
        if value == storable(value):
            artifact.set_string_custom_property(name, value)
    elif value is not None and math.isfinite(value):
        artifact.set_float_custom_property(name, float(value))


def storable(prose: str) -> str:
    """A text for people as every store takes it: slashes for backslashes, cut where it is long."""
    return prose.replace("\\", "/").encode()[:_LONGEST_BYTES].decode(errors="ignore")
