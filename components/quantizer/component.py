"""Quantizer, as a pipeline author sees it."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec

from tfx_edge.errors import ConfigError
from tfx_edge.quantizer import executor
from tfx_edge.quantizer.spec import QuantizerConfig
from tfx_edge.stages import component


class QuantizerSpec(ComponentSpec):
    """Inputs, outputs and properties of Quantizer."""

    PARAMETERS = component.PARAMETERS | component.USER_PARAMETERS
    INPUTS = {
        **component.MODEL_INPUT,
        **component.EXAMPLES_INPUTS,
        "examples": ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = component.MODEL_OUTPUT


class Quantizer(component.LearningComponent):
    """Fewer bits: quantization-aware training before LiteConverter, or post-training quantization after it.

    ``model`` is a trainable stage for recipe ``qat_int8``, a lite stage for the others; ``config`` a `QuantizerConfig`.
    Recipes that learn nothing need no ``examples``. The other arguments are those of every
    `LearningComponent`.
    """

    SPEC_CLASS = QuantizerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    CONFIG_CLASS = QuantizerConfig

    @classmethod
    def check(cls, config: QuantizerConfig, channels: dict[str, types.BaseChannel | None]) -> None:
        """Raises ConfigError when the recipe learns from examples and there are none."""
        if channels["examples"] is None and config.learns:
            raise ConfigError(
                f"Quantizer: recipe {config.recipe.preset!r} needs examples: pass examples and "
                "transform_graph or schema"
            )

    @classmethod
    def reads_examples(cls, config: QuantizerConfig | None) -> bool:
        """Whether the recipe is known to learn from examples; others leave them alone."""
        return config is not None and config.learns

    @classmethod
    def labels_purpose(cls, config: QuantizerConfig | None) -> str:
        """What labels are needed for: training, or the metric of a recovery."""
        if config is None:
            return ""
        if config.recovery and config.recovery.metric:
            return f"recovery.metric {config.recovery.metric!r}"
        return f"recipe {config.recipe.preset!r}" if config.trains else ""
