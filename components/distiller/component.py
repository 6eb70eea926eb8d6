"""Distiller, as a pipeline author sees it."""

from __future__ import annotations

from tfx.dsl.components.base import executor_spec
from tfx.types.component_spec import ComponentSpec

from tfx_edge.distiller import executor, work
from tfx_edge.distiller.spec import DistillerConfig
from tfx_edge.stages import component


class DistillerSpec(ComponentSpec):
    """Inputs, outputs and properties of Distiller."""

    PARAMETERS = component.PARAMETERS | component.USER_PARAMETERS
    INPUTS = component.MODEL_INPUT | component.EXAMPLES_INPUTS
    OUTPUTS = component.MODEL_OUTPUT


class Distiller(component.LearningComponent):
    """A small student learns from Trainer's model: logit distillation.

    ``model`` is the teacher: Trainer's model, saved with ``save_trainable``; ``config`` a `DistillerConfig`. The module
    defines ``build_student_fn(fn_args)``. The other arguments are those of every `LearningComponent`.
    """

    SPEC_CLASS = DistillerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    CONFIG_CLASS = DistillerConfig
    REQUIRED_FUNCTIONS = {"build_student_fn": work.STUDENT_PURPOSE}
