"""LiteConverter, as a pipeline author sees it."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import executor_spec
from tfx.orchestration import data_types
from tfx.types.component_spec import ComponentSpec

from tfx_edge.lite_converter import executor
from tfx_edge.lite_converter.spec import LiteConverterConfig
from tfx_edge.stages import component


class LiteConverterSpec(ComponentSpec):
    """Inputs, outputs and properties of LiteConverter."""

    PARAMETERS = component.PARAMETERS
    INPUTS = component.MODEL_INPUT
    OUTPUTS = component.MODEL_OUTPUT


class LiteConverter(component.EdgeComponent):
    """Turns a trainable model into a ``.tflite`` with ``edge.json`` beside it.

    Args:
      model: Trainer's model, or that of a trainable stage.
      config: a `LiteConverterConfig`, a dict of its fields, or a RuntimeParameter holding its JSON.

    Raises:
      ConfigError: the configuration cannot work.
    """

    SPEC_CLASS = LiteConverterSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    CONFIG_CLASS = LiteConverterConfig

    def __init__(
        self,
        model: types.BaseChannel,
        config: LiteConverterConfig | dict[str, Any] | data_types.RuntimeParameter | None = None,
    ) -> None:
        super().__init__(config, {"model": model})
