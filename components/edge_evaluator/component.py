"""EdgeEvaluator, as a pipeline author sees it."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from tfx_edge.artifacts import EdgeReport
from tfx_edge.devices.local import fingerprint
from tfx_edge.edge_evaluator import executor
from tfx_edge.edge_evaluator.spec import EdgeEvaluatorConfig
from tfx_edge.errors import ConfigError
from tfx_edge.stages import component


class EdgeEvaluatorSpec(ComponentSpec):
    """Inputs, outputs and properties of EdgeEvaluator."""

    PARAMETERS = {**component.PARAMETERS, **component.USER_PARAMETERS, "host": ExecutionParameter(type=str)}
    INPUTS = {
        **component.MODEL_INPUT,
        **component.EXAMPLES_INPUTS,
        "baseline_model": ChannelParameter(type=standard_artifacts.Model, optional=True),
    }
    OUTPUTS = {
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
        "infra_blessing": ChannelParameter(type=standard_artifacts.InfraBlessing),
        "report": ChannelParameter(type=EdgeReport),
    }


def fingerprints(config: EdgeEvaluatorConfig | dict[str, Any]) -> str:
    """What figures depend on at each target. As an exec property it keeps TFX's cache from answering for others."""
    targets = EdgeEvaluatorConfig.parse(config).targets
    return "; ".join(f"{name}: {target.connect().fingerprint()}" for name, target in targets.items())


class EdgeEvaluator(component.EdgeComponent, base_beam_component.BaseBeamComponent):
    """Measures a ``.tflite`` and blesses it only when every threshold holds.

    Size, latency, peak memory and accuracy are measured in processes of their own through the interpreter that runs on
    devices. Anything missing or not finite means not blessed, with the reason. Both blessings carry the same verdict:
    give Pusher ``blessing``, or keep Evaluator's there and give Pusher ``infra_blessing``.

    Args:
      model: a lite stage, of LiteConverter or Quantizer.
      examples: of Transform (with its ``transform_graph``) or of an ExampleGen (with a ``schema``); needs an eval
        split.
      config: an `EdgeEvaluatorConfig`, a dict of its fields, or a RuntimeParameter holding its JSON.
      baseline_model: a lite stage to compare with: the float model, through LiteConverter.
      schema: SchemaGen's schema, where there is no Transform.
      transform_graph: Transform's graph, when ``examples`` are transformed.
      label_key: the label among the features.
      module_file: the user's module, optionally with ``input_fn``.
      module_path: the same as a dotted module name; give one of the two.
      custom_config: reaches the module as ``fn_args.custom_config``.

    Raises:
      ConfigError: the configuration cannot work, or a threshold compares with a baseline that is not given.
    """

    SPEC_CLASS = EdgeEvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
    CONFIG_CLASS = EdgeEvaluatorConfig

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        config: EdgeEvaluatorConfig | dict[str, Any] | data_types.RuntimeParameter,
        baseline_model: types.BaseChannel | None = None,
        schema: types.BaseChannel | None = None,
        transform_graph: types.BaseChannel | None = None,
        label_key: str | None = None,
        module_file: str | None = None,
        module_path: str | None = None,
        custom_config: dict[str, Any] | None = None,
    ) -> None:
        channels = {
            "model": model,
            "examples": examples,
            "baseline_model": baseline_model,
            "schema": schema,
            "transform_graph": transform_graph,
        }
        host = fingerprint() if isinstance(config, data_types.RuntimeParameter) else fingerprints(config)
        super().__init__(config, channels, label_key, module_file, module_path, custom_config, host=host)

    @classmethod
    def check(cls, config: EdgeEvaluatorConfig, channels: dict[str, types.BaseChannel | None]) -> None:
        """Raises ConfigError when a threshold compares with a baseline that is not there."""
        if config.relative and channels["baseline_model"] is None:
            raise ConfigError(
                f"EdgeEvaluator: the thresholds of {', '.join(config.relative)} compare with a baseline: pass "
                "baseline_model (the float model through LiteConverter), or use min and max alone"
            )
