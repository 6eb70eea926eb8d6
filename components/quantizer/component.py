"""Quantizer, as a pipeline author sees it."""

from __future__ import annotations

import json
from typing import Any

from tfx import types
from tfx.dsl.components.base import executor_spec
from tfx.orchestration import data_types
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from tfx_edge.errors import ConfigError
from tfx_edge.lite.quantize import CALIBRATED
from tfx_edge.quantizer import executor
from tfx_edge.quantizer.spec import QuantizerConfig
from tfx_edge.stages.component import EdgeComponent, config_property, package_version


def check_examples(config: Any, examples: types.BaseChannel | None) -> None:
    """Raises ConfigError when the mode learns from examples and there are none."""
    if isinstance(config, data_types.RuntimeParameter):
        return
    mode = QuantizerConfig.parse(config).mode
    if examples is None and (mode == "qat" or mode in CALIBRATED):
        raise ConfigError(f"Quantizer: mode {mode!r} needs examples: pass examples and transform_graph or schema")


class QuantizerSpec(ComponentSpec):
    """Inputs, outputs and properties of Quantizer."""

    PARAMETERS = {
        "config": ExecutionParameter(type=str),
        "tfx_edge_version": ExecutionParameter(type=str),
        "label_key": ExecutionParameter(type=str, optional=True),
        "module_file": ExecutionParameter(type=str, optional=True),
        "module_path": ExecutionParameter(type=str, optional=True),
        "custom_config": ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "examples": ChannelParameter(type=standard_artifacts.Examples, optional=True),
        "schema": ChannelParameter(type=standard_artifacts.Schema, optional=True),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph, optional=True),
    }
    OUTPUTS = {"edge_model": ChannelParameter(type=standard_artifacts.Model)}


class Quantizer(EdgeComponent):
    """Fewer bits: quantization-aware training before LiteConverter, or post-training quantization after it.

    Args:
      model: a trainable stage for mode ``qat``, a lite stage for the post-training modes.
      examples: of Transform (with its ``transform_graph``) or of an ExampleGen (with a ``schema``).
      config: a `QuantizerConfig`, a dict of its fields, or a RuntimeParameter holding its JSON.
      schema: SchemaGen's schema, where there is no Transform.
      transform_graph: Transform's graph, when ``examples`` are transformed.
      label_key: the label among the features.
      module_file: the user's module, as for Trainer, optionally with ``build_model_fn``, ``compile_fn`` and
        ``input_fn``.
      module_path: the same as a dotted module name; give one of the two.
      custom_config: reaches the module as ``fn_args.custom_config``.

    Raises:
      ConfigError: the configuration cannot work.
      UserCodeError: the module lacks a function that is needed.
    """

    SPEC_CLASS = QuantizerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel | None = None,
        config: QuantizerConfig | dict[str, Any] | Any = None,
        schema: types.BaseChannel | None = None,
        transform_graph: types.BaseChannel | None = None,
        label_key: str | None = None,
        module_file: str | None = None,
        module_path: str | None = None,
        custom_config: dict[str, Any] | None = None,
    ) -> None:
        check_examples(config, examples)
        spec = QuantizerSpec(
            config=config_property(QuantizerConfig, config),
            tfx_edge_version=package_version(),
            edge_model=types.Channel(type=standard_artifacts.Model),
            label_key=label_key,
            module_file=module_file,
            module_path=module_path,
            custom_config=json.dumps(custom_config) if custom_config else None,
            model=model,
            examples=examples,
            schema=schema,
            transform_graph=transform_graph,
        )
        super().__init__(spec, module_file, module_path)
