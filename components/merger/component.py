"""Merger, as a pipeline author sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfx import types
from tfx.dsl.components.base import executor_spec
from tfx.orchestration import data_types
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec

from tfx_edge.errors import ConfigError
from tfx_edge.merger import executor, work
from tfx_edge.merger.spec import MergerConfig
from tfx_edge.stages import component
from tfx_edge.stages.user_code import check_module


class MergerSpec(ComponentSpec):
    """Inputs, outputs and properties of Merger: each channel of models is an input, so that their order is kept."""

    PARAMETERS = component.PARAMETERS | component.USER_PARAMETERS
    INPUTS = {
        **component.several_models("models"),
        **component.EXAMPLES_INPUTS,
        "examples": ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = component.MODEL_OUTPUT


class Merger(component.EdgeComponent):
    """Several models on the same inputs become one that computes a function of their outputs, with fewer layers.

    Args:
      models: channels of trainable models, in order: those of Trainers, or of trainable stages; or one channel, which
        may hold several models, or a single one that is only simplified.
      examples: on which the outputs are compared with those of the models; without them random inputs take their place.
      config: a `MergerConfig`, a dict of its fields, or a RuntimeParameter holding its JSON.
      schema: SchemaGen's schema, where the examples are not transformed.
      transform_graph: Transform's graph, when ``examples`` are transformed.
      label_key: the label among the features, which is then left out of the models' inputs.
      module_file: the user's module, with ``merge_fn(outputs)`` for function ``"module"``, optionally with
        ``build_model_fn`` and ``input_fn``.
      module_path: the same as a dotted module name; give one of the two.
      custom_config: reaches the module as ``fn_args.custom_config``.

    Raises:
      ConfigError: the configuration cannot work.
      UserCodeError: the module lacks ``merge_fn``.
    """

    SPEC_CLASS = MergerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    CONFIG_CLASS = MergerConfig

    def __init__(
        self,
        models: types.BaseChannel | Sequence[types.BaseChannel],
        examples: types.BaseChannel | None = None,
        config: MergerConfig | dict[str, Any] | data_types.RuntimeParameter | None = None,
        schema: types.BaseChannel | None = None,
        transform_graph: types.BaseChannel | None = None,
        label_key: str | None = None,
        module_file: str | None = None,
        module_path: str | None = None,
        custom_config: dict[str, Any] | None = None,
    ) -> None:
        given = component.several_channels("Merger", "models", models)
        if not isinstance(config, data_types.RuntimeParameter):
            parsed = MergerConfig.parse(config)
            if parsed.weights is not None and len(given) > 1 and len(parsed.weights) != len(given):
                raise ConfigError(
                    f"Merger: weights has {len(parsed.weights)} numbers for {len(given)} models: give one for each"
                )
            if parsed.function == "module":
                check_module("Merger", module_file, module_path, {"merge_fn": work.MERGE_PURPOSE})
        channels = {
            **given,
            "examples": examples,
            "schema": schema,
            "transform_graph": transform_graph,
        }
        super().__init__(config, channels, label_key, module_file, module_path, custom_config)
