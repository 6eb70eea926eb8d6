"""Pruner, as a pipeline author sees it."""

from __future__ import annotations

from tfx.dsl.components.base import executor_spec
from tfx.types.component_spec import ComponentSpec

from tfx_edge.pruner import executor
from tfx_edge.pruner.spec import PrunerConfig
from tfx_edge.stages import component


class PrunerSpec(ComponentSpec):
    """Inputs, outputs and properties of Pruner."""

    PARAMETERS = component.PARAMETERS | component.USER_PARAMETERS
    INPUTS = component.MODEL_INPUT | component.EXAMPLES_INPUTS
    OUTPUTS = component.MODEL_OUTPUT


class Pruner(component.LearningComponent):
    """Makes a model smaller and trains it: zeroes weights, lets them share values, or removes whole channels.

    ``model`` is Trainer's, or that of another trainable stage; ``config`` a `PrunerConfig`. The other arguments are
    those of every `LearningComponent`.
    """

    SPEC_CLASS = PrunerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    CONFIG_CLASS = PrunerConfig
