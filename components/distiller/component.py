"""Distiller, as a pipeline author sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfx import types
from tfx.dsl.components.base import executor_spec
from tfx.orchestration import data_types
from tfx.types.component_spec import ComponentSpec

from tfx_edge.distiller import executor, work
from tfx_edge.distiller.spec import DistillerConfig
from tfx_edge.errors import ConfigError
from tfx_edge.stages import component, several
from tfx_edge.stages.user_code import defines


class DistillerSpec(ComponentSpec):
    """Inputs, outputs and properties of Distiller."""

    PARAMETERS = component.PARAMETERS | component.USER_PARAMETERS
    INPUTS = {
        **component.MODEL_INPUT,
        **component.EXAMPLES_INPUTS,
        **component.several_models("teachers", optional=True),
    }
    OUTPUTS = component.MODEL_OUTPUT


class Distiller(component.LearningComponent):
    """A small student learns from one or several trained models.

    ``model`` is the teacher: Trainer's model, saved with ``save_trainable``, or that of another trainable stage;
    ``config`` a `DistillerConfig`. The student is derived from it as ``config`` says (``student="width:0.25"``), or
    comes from the module's ``build_student_fn(fn_args)``. The other arguments are those of every `LearningComponent`.

    Args:
      teachers: further teachers, in order: a channel of Model artifacts or several channels, of any pipeline.
    """

    SPEC_CLASS = DistillerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    CONFIG_CLASS = DistillerConfig

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel | None = None,
        config: DistillerConfig | dict[str, Any] | data_types.RuntimeParameter | None = None,
        schema: types.BaseChannel | None = None,
        transform_graph: types.BaseChannel | None = None,
        label_key: str | None = None,
        module_file: str | None = None,
        module_path: str | None = None,
        custom_config: dict[str, Any] | None = None,
        teachers: types.BaseChannel | Sequence[types.BaseChannel] | None = None,
    ) -> None:
        if not isinstance(config, data_types.RuntimeParameter):
            config = DistillerConfig.parse(config)
            self._check_student(config, module_file, module_path)
        super().__init__(
            model,
            examples,
            config,
            schema,
            transform_graph,
            label_key,
            module_file,
            module_path,
            custom_config,
            **({} if teachers is None else component.several_channels("Distiller", "teachers", teachers)),
        )

    @classmethod
    def _check_student(cls, config: DistillerConfig, module_file: str | None, module_path: str | None) -> None:
        """Raises an error unless there is exactly one student, as far as the module's source tells."""
        required = {} if config.student is not None else {"build_student_fn": work.STUDENT_PURPOSE}
        try:
            component.check_module(cls.__name__, module_file, module_path, required)
        except ConfigError as error:
            if required and not (module_file or module_path):
                raise ConfigError(f"{error}, or give config student, such as 'width:0.25'") from None
            raise
        if config.student is not None and defines(module_file, module_path, "build_student_fn"):
            raise ConfigError(
                f"{cls.__name__}: the student is given twice: by config student {config.student!r} and by "
                f"build_student_fn of {module_file or module_path}. Leave one out"
            )

    @classmethod
    def check(cls, config: Any, channels: dict[str, types.BaseChannel | None]) -> None:
        """Raises ConfigError when the configuration speaks of teachers that are not given."""
        teachers = 1 + sum(key in channels for key in several.keys("teachers"))
        weights = config.teacher_weights
        if weights and len(weights) < teachers:  # more of them may be right, as a channel may hold several models
            raise ConfigError(
                f"{cls.__name__}: teacher_weights has {len(weights)} numbers for {teachers} teachers: give one for each"
            )
        if teachers > 1:
            return
        if weights and len(weights) > 1:
            raise ConfigError(
                f"{cls.__name__}: teacher_weights has {len(weights)} numbers for one teacher: give teachers"
            )
        for term in config.losses:
            for pair in getattr(term, "layers", ()):
                if pair.of:
                    raise ConfigError(
                        f"{cls.__name__}: loss {term.kind!r} compares with a layer of teacher {pair.of}: give teachers"
                    )
