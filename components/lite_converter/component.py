"""LiteConverter, as a pipeline author sees it."""

from __future__ import annotations

from tfx.dsl.components.base import executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec

from tfx_edge.lite_converter import executor
from tfx_edge.lite_converter.spec import LiteConverterConfig
from tfx_edge.stages import component


class LiteConverterSpec(ComponentSpec):
    """Inputs, outputs and properties of LiteConverter."""

    PARAMETERS = component.PARAMETERS | component.USER_PARAMETERS
    INPUTS = {
        **component.MODEL_INPUT,
        **component.EXAMPLES_INPUTS,
        "examples": ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = component.MODEL_OUTPUT


class LiteConverter(component.LearningComponent):
    """Turns a trainable model into a ``.tflite`` with ``edge.json`` beside it.

    ``model`` is Trainer's, or that of a trainable stage; ``config`` a `LiteConverterConfig`. With ``transform_graph``
    the ``.tflite`` takes raw features and computes what Transform made of them. ``examples`` are what the ``.tflite``
    takes, so raw ones then; they are read by ``schema`` (of transformed ones: Transform's ``post_transform_schema``),
    compared on, and needed by a recipe that is calibrated. The other arguments are those of every `LearningComponent`.
    """

    SPEC_CLASS = LiteConverterSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    CONFIG_CLASS = LiteConverterConfig
    DESCRIBED_BY = ("schema",)

    @classmethod
    def labels_purpose(cls, config: LiteConverterConfig | None) -> str:
        """Empty: outputs are compared with those of the model that is converted."""
        return ""
