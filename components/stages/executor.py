"""Between TFX and the work of a stage: artifacts become a request, and what comes back becomes properties."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, json_utils

from tfx_edge.stages import child
from tfx_edge.stages.component import package_version


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
    request = child.Request(
        component,
        inputs={key: [artifact.uri for artifact in artifacts] for key, artifacts in input_dict.items()},
        outputs={key: [artifact.uri for artifact in artifacts] for key, artifacts in output_dict.items()},
        properties=dict(exec_properties),
    )
    examples = list(input_dict.get("examples") or ())
    if not examples:
        return request
    schema, transform_graph = (next(iter(request.inputs.get(key, ())), None) for key in ("schema", "transform_graph"))
    fn_args = {
        "train_files": _files(examples, "train"),
        "eval_files": _files(examples, "eval"),
        "schema_path": io_utils.get_only_uri_in_dir(schema) if schema else None,
        "transform_graph_path": transform_graph,
        "base_model": request.inputs["model"][0],
        "custom_config": json.loads(exec_properties.get("custom_config") or "null"),
        "examples": json_utils.dumps(examples),
    }
    return dataclasses.replace(
        request, fn_args=fn_args, payload_format=examples_utils.get_payload_format_string(examples[0])
    )


def _files(examples: list[Any], split: str) -> list[str]:
    return [
        io_utils.all_files_pattern(artifact_utils.get_split_uri([artifact], split))
        for artifact in examples
        if split in artifact_utils.decode_split_names(artifact.split_names)
    ]


def set_property(artifact: Any, name: str, value: Any) -> None:
    """Puts a custom property on an artifact; None is left out."""
    if isinstance(value, str):
        artifact.set_string_custom_property(name, value)
    elif value is not None:
        artifact.set_float_custom_property(name, float(value))
