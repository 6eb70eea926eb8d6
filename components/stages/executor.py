"""The executor of the components that turn one model into another."""

from __future__ import annotations

from typing import Any

from tfx.dsl.components.base import base_executor

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
        request = child.Request(self.COMPONENT, input_dict, output_dict, exec_properties)
        properties = child.run(self.WORK, request)
        model = output_dict["edge_model"][0]
        model.set_string_custom_property("component", self.COMPONENT)
        model.set_string_custom_property("tfx_edge_version", package_version())
        for name, value in properties.items():
            set_property(model, name, value)


def set_property(artifact: Any, name: str, value: Any) -> None:
    """Puts a custom property on an artifact; None is left out."""
    if isinstance(value, str):
        artifact.set_string_custom_property(name, value)
    elif value is not None:
        artifact.set_float_custom_property(name, float(value))
