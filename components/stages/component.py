"""What the component classes share: configuration as an exec property, and the user's module."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from tfx.components.util import udf_utils
from tfx.dsl.components.base import base_component
from tfx.orchestration import data_types

from tfx_edge.config import Config
from tfx_edge.stages.user_code import check_module


def config_property(config_class: type[Config], value: Any) -> Any:
    """The JSON text of a validated configuration; a RuntimeParameter is passed on and validated at run time.

    Raises:
      ConfigError: the configuration is wrong.
    """
    return value if isinstance(value, data_types.RuntimeParameter) else config_class.parse(value).to_json()


def package_version() -> str:
    """The version of tfx-edge. As an exec property it keeps TFX's cache from answering for another version."""
    return importlib.metadata.version("tfx-edge")


class EdgeComponent(base_component.BaseComponent):
    """Base of the five components: a spec, an executor, and a user module that is packaged as Trainer's is."""

    def __init__(
        self,
        spec: Any,
        module_file: str | None = None,
        module_path: str | None = None,
        required: dict[str, str] | None = None,
    ) -> None:
        check_module(type(self).__name__, module_file, module_path, required)
        super().__init__(spec=spec)
        if module_file and udf_utils.should_package_user_modules():
            udf_utils.add_user_module_dependency(self, "module_file", "module_path")
