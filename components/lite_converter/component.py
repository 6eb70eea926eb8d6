"""LiteConverter, as a pipeline author sees it."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from tfx_edge.lite_converter import executor
from tfx_edge.lite_converter.spec import LiteConverterConfig
from tfx_edge.stages.component import EdgeComponent, config_property, package_version


class LiteConverterSpec(ComponentSpec):
    """Inputs, outputs and properties of LiteConverter."""

    PARAMETERS = {
        "config": ExecutionParameter(type=str),
        "tfx_edge_version": ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {"edge_model": ChannelParameter(type=standard_artifacts.Model)}


class LiteConverter(EdgeComponent):
    """Turns a trainable model into a ``.tflite`` with ``edge.json`` beside it.

    Args:
      model: Trainer's model, or that of a trainable stage.
      config: a `LiteConverterConfig`, a dict of its fields, or a RuntimeParameter holding its JSON.

    Raises:
      ConfigError: the configuration cannot work.
    """

    SPEC_CLASS = LiteConverterSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        config: LiteConverterConfig | dict[str, Any] | Any = None,
    ) -> None:
        spec = LiteConverterSpec(
            config=config_property(LiteConverterConfig, config),
            tfx_edge_version=package_version(),
            edge_model=types.Channel(type=standard_artifacts.Model),
            model=model,
        )
        super().__init__(spec)
